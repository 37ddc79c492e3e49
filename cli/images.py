"""Find images in folders, one folder per class, and read them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingExtraError
from .console import many, note

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Pillow's names for pixels of at most 8 bits a channel; wider ones would be cut off without a word.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
_GREY = ("1", "L", "LA")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class ImageFiles:
    """Images of a folder.

    Args:
        root: The folder, below which files are named.
        files: The images, sorted.
        labels: Name of the folder that each lies in; None where the images lie in the root.
    """

    root: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """Return the path of each below the root."""
        return [_name(file, self.root) for file in self.files]


def find_images(folder: Path) -> ImageFiles:
    """Find the images of a folder, or of its folders: one per class. What else lies there is told, and passed over.

    Args:
        folder: The folder.

    Raises:
        InputError: If there are none, if a class has none, or if some lie beside the folders of classes.
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files, others = _sorted_out(folder)
    if classes and files:
        raise InputError(
            f"{folder}: expected images in one folder per class, found {files[0].name} beside them. Move it."
        )
    labels: list[str] = []
    others = [other for other in others if other not in classes]
    for name in classes:
        found, rest = _sorted_out(name)
        if not found:
            raise InputError(
                f"{folder}: expected images ({', '.join(IMAGES)}) in the folder of each class, found "
                f"{_told(rest) or 'nothing'} in {name.name}. Write them in one of these formats, or move the folder."
            )
        files += found
        others += rest
        labels += [name.name] * len(found)
    if not files:
        raise InputError(
            f"expected .npy, .npz or images ({', '.join(IMAGES)}) in {folder}, found none{' but ' * bool(others)}"
            f"{_told(others)}. Check the path."
        )
    if others:
        note(f"{folder}: passed over {_told(others)}; images are {', '.join(IMAGES)}")
    return ImageFiles(folder, tuple(files), tuple(labels) if classes else None)


def read_images(
    files: Sequence[Path], root: Path, channels: int | None = None, wanted: Shape | None = None
) -> NDArray[np.uint8]:
    """Read images of one size.

    Args:
        files: At least one.
        root: The folder below which they are named in messages.
        channels: Number of channels to read with (1 or 3); by default as they are.
        wanted: Shape that all must have, checked before any pixel is read; by default that of the first.

    Returns:
        ``(n, height, width, channels) uint8``.

    Raises:
        InputError: If one cannot be read, or has another shape.
        MissingExtraError: If Pillow is not installed.
    """
    if find_spec("PIL") is None:
        raise MissingExtraError(
            "reading images needs 'PIL', which is not installed. Install it with: pip install pillow"
        )
    shapes = [_shape(file, root, channels) for file in files]
    for file, shape in zip(files, shapes, strict=True):
        if wanted is not None and shape != wanted:
            raise InputError(
                f"{_name(file, root)}: expected an image of {_size(wanted)}, which the model takes, found "
                f"{_size(shape)}. Crop or resize it first."
            )
        if shape[2] != shapes[0][2]:
            kinds = {1: "grey", 3: "colour"}
            raise InputError(
                f"{_name(file, root)}: expected all images in grey or all in colour, found {kinds[shape[2]]} after "
                f"{kinds[shapes[0][2]]} ({_name(files[0], root)}). Write them alike."
            )
        if shape != shapes[0]:
            raise InputError(
                f"{_name(file, root)}: expected images of one size, found {_size(shape)} after {_size(shapes[0])} "
                f"({_name(files[0], root)}). Crop or resize them alike."
            )
    frames = np.empty((len(files), *shapes[0]), np.uint8)
    for file, frame in zip(files, frames, strict=True):
        with _opened(file, root) as image:
            frame[...] = np.asarray(image.convert("L" if frame.shape[2] == 1 else "RGB"), np.uint8).reshape(frame.shape)
    return frames


def _shape(file: Path, root: Path, channels: int | None) -> Shape:
    """Return the shape of an image from its header alone."""
    with _opened(file, root) as image:
        if image.mode not in _MODES:
            raise InputError(
                f"{_name(file, root)}: expected 8 bits a channel, found mode {image.mode!r}. Convert it first."
            )
        grey = image.mode in _GREY if channels is None else channels == 1
        return image.height, image.width, 1 if grey else 3


@contextmanager
def _opened(file: Path, root: Path) -> "Iterator[Image]":
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            yield image
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{_name(file, root)}: expected an image, found that {error}. Leave it out.") from error


def _sorted_out(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images of a folder and what else is there, sorted. A pipe has no end: only files are read."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    images = [entry for entry in entries if entry.suffix.lower() in IMAGES and entry.is_file()]
    return images, [entry for entry in entries if entry not in set(images)]


def _told(others: Sequence[Path]) -> str:
    """Say what was passed over: how many of which format, and how many folders."""
    folders = sum(other.is_dir() for other in others)
    endings = Counter(
        (other.suffix.lower() or "without an ending") if other.is_file() else "a pipe, or a link to nothing"
        for other in others
        if not other.is_dir()
    )
    parts = [f"{many(endings.total(), 'file')} ({', '.join(sorted(endings))})"] if endings else []
    return " and ".join([*parts, many(folders, "folder")] if folders else parts)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _size(shape: Shape) -> str:
    return f"{shape[0]} x {shape[1]} pixels in {'grey' if shape[2] == 1 else 'colour'}"
