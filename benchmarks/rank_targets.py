"""Five targets of `benchmarks/rank.py`: small sets of labelled grey images out of registry packages.

Digits of UCI; clothes (Fashion-MNIST, the test part) turned by 15 degrees and half as bright; defects of
mono-crystalline and of poly-crystalline solar cells (ELPV); exercises (seglearn), windows of 2 s of a smartwatch's six
channels, drawn as an image each. Packages: see `benchmarks/places.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from examples import elpv
from numpy.typing import NDArray
from PIL import Image

from acclimate.server.digits import load_target, target_pool

from .places import _WINDOW, _fashion, _watch

Image8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]
# Of each target, images that are drawn from and tested on.
_MOST = 1_200


@dataclass(frozen=True, eq=False)
class Target:
    """Labelled images.

    Args:
        name: What they are.
        images: Each ``(h, w) uint8``.
        y: ``(n,)`` classes, 0 to k - 1.
    """

    name: str
    images: Sequence[Image8]
    y: Int64

    def resized(self, side: int) -> Image8:
        """Return the images ``(n, side, side)``."""
        size = (side, side)
        # Where they shrink, Pillow takes the mean of what falls together.
        resized = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in self.images]
        return np.stack(resized)


def targets() -> Iterator[Target]:
    """Return the targets one by one."""
    digits, rows = load_target(), target_pool()
    yield _drawn("digits", list(digits.images[rows, :, :, 0]), digits.labels[rows])
    photos, y = _fashion("t10k", _MOST // 10)
    yield _drawn("clothes", [_elsewhere(one) for one in photos], y)
    cells = elpv.load()
    for name, chosen in (("mono cells", ~cells.poly), ("poly cells", cells.poly & ~cells.development)):
        yield _drawn(name, list(cells.frames[chosen]), cells.defective[chosen].astype(np.int64))
    series, exercise, _ = _watch()
    windows = [_windows(one) for one in series]
    y = np.repeat(exercise, [len(one) for one in windows])
    yield _drawn("exercises", [window for some in windows for window in some], y)


def _drawn(name: str, images: Sequence[Image8], y: Int64) -> Target:
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:_MOST])
    found = np.unique(y[rows], return_inverse=True)[1]
    return Target(name, [images[row] for row in rows], found.astype(np.int64))


def _elsewhere(image: Image8) -> Image8:
    """Return a photo as another camera sees it."""
    turned: Image8 = np.asarray(Image.fromarray(image).rotate(15, Image.Resampling.BILINEAR)) // 2
    return turned


def _windows(recording: NDArray[np.float64]) -> list[Image8]:
    """Return windows as images ``(6, 100)``: a row for each channel, from its least value to its greatest."""
    count = len(recording) // _WINDOW
    low, high = recording.min(axis=0), recording.max(axis=0)
    levels = np.round(255 * (recording - low) / np.where(high > low, high - low, 1)).astype(np.uint8)
    return [np.ascontiguousarray(one.T) for one in levels[: count * _WINDOW].reshape(count, _WINDOW, -1)]
