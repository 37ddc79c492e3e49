"""What `acclimate convert` reads: arrays as they are, folders of images batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .frames import read_frames
from .images import find_images, read_images

if TYPE_CHECKING:
    from ..converters.source_data import Source

_BATCH = 32
# As many as a converter calibrates on.
_FIRST = 256


@dataclass(frozen=True)
class ImageFolders:
    """Labelled images that are read when they are gone through; what `convert` takes as source batches.

    Args:
        files: The images, all of one size.
        labels: Name of the class of each.
        root: The folder below which they are named in messages.
    """

    files: tuple[Path, ...]
    labels: tuple[str, ...]
    root: Path

    def __iter__(self) -> Iterator[tuple[NDArray[np.generic], tuple[str, ...]]]:
        """Read batches ``(m, height, width, channels) uint8`` with their labels."""
        for start in range(0, len(self.files), _BATCH):
            part = self.files[start : start + _BATCH]
            # The first is read with every batch, so that one of another size is named.
            yield read_images([self.files[0], *part], self.root)[1:], self.labels[start : start + _BATCH]


@dataclass(frozen=True, eq=False)
class ConvertData:
    """The model's own domain.

    Args:
        frames: ``(n, ...)`` what is calibrated on.
        source: The same with labels, and all of it; None without labels.
    """

    frames: NDArray[Any]
    source: "Source | None"


def read_data(path: Path) -> ConvertData:
    """Read data for a conversion; a folder with many images is read batch by batch.

    Args:
        path: As for `read_frames`.

    Raises:
        InputError: If there is nothing to read, or if it cannot be read.
        MissingExtraError: If an image is to be read and Pillow is not installed.
    """
    if not path.is_dir():
        frames, labels, _ = read_frames(path)
        return ConvertData(frames, None if labels is None else (frames, labels))
    found = find_images(path)
    chosen = np.linspace(0, len(found.files) - 1, min(len(found.files), _FIRST)).astype(int)
    images = read_images([found.files[i] for i in chosen], path)
    if found.labels is None:
        return ConvertData(images, None)
    if len(found.files) <= _FIRST:
        return ConvertData(images, (images, list(found.labels)))
    return ConvertData(images, ImageFolders(found.files, found.labels, path))
