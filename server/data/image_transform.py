"""From an image to what a model takes: resized and normalised, and varied for training."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...errors import InputError
from ...extras import require
from .settings import DataSettings


@dataclass(frozen=True)
class ImageTransform:
    """Resizes, scales to 0 to 1, normalises. When varied: crop or resize, shift, flip, rand-augment, erase.

    Args:
        settings: What to do.
    """

    settings: DataSettings

    def __call__(self, raw: NDArray[Any], *, vary: bool) -> Tensor:
        """Return ``(c, h, w) float32`` of ``(h, w, c) uint8``."""
        image = torch.from_numpy(np.ascontiguousarray(raw)).permute(2, 0, 1)
        names = self.settings.augment if vary else ()
        image = _crop(image, self.settings) if "crop" in names else _resize(image, self.settings.size)
        if "shift" in names:
            image = shift_image(image, self.settings.shift)
        if "flip" in names and torch.rand(()) < 0.5:
            image = image.flip(2)
        if "rand-augment" in names:
            image = _operation("RandAugment", *self.settings.rand_augment)(image)
        x = normalise(image, self.settings.mean, self.settings.std)
        if "erase" in names and torch.rand(()) < self.settings.erase:
            erase_rectangle(x)
        return x


def normalise(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return ``(c, h, w) uint8`` as ``float32``: pixels in 0 to 1, less mean, divided by std.

    Raises:
        InputError: If there are other numbers of means or deviations than channels.
    """
    x = image.to(torch.float32).div_(255)
    for name, values, apply in (("mean", mean, x.sub_), ("std", std, x.div_)):
        if values:
            if len(values) not in (1, len(x)):
                raise InputError(f"expected {len(x)} numbers in data.{name}, one per channel, found {len(values)}.")
            apply(torch.tensor(values).view(-1, 1, 1))
    return x.contiguous()


def shift_image(image: Tensor, share: float) -> Tensor:
    """Move an image by up to a share of its size in each direction; what comes in is black."""
    height, width = image.shape[1:]
    most = (round(share * height), round(share * width))
    # Two at once: drawing a number costs as much as moving a small image.
    down, right = (int((2 * m + 1) * u) - m for m, u in zip(most, torch.rand(2).tolist(), strict=True))
    return functional.pad(image, (right, -right, down, -down))


def erase_rectangle(x: Tensor) -> None:
    """Put 0 into a drawn rectangle of an image ``(c, h, w)``, in place.

    It covers 2 to 33 % of the image, and is 0.3 to 3.3 times as high as wide.

    References:
        Zhong et al. 2020, "Random erasing data augmentation".
    """
    height, width = x.shape[1:]
    size, form, above, before = torch.rand(4).tolist()
    area, ratio = (0.02 + 0.31 * size) * height * width, 0.3 * 11**form
    high, wide = min(height, round(math.sqrt(area * ratio))), min(width, round(math.sqrt(area / ratio)))
    top, left = int((height - high + 1) * above), int((width - wide + 1) * before)
    x[:, top : top + high, left : left + wide] = 0


def _crop(image: Tensor, settings: DataSettings) -> Tensor:
    size = settings.size or tuple(image.shape[1:])
    cropped: Tensor = _operation("RandomResizedCrop", size, settings.crop_scale)(image)
    return cropped


def _resize(image: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or tuple(image.shape[1:]) == size:
        return image
    resized: Tensor = _transforms().functional.resize(image, list(size), antialias=True)
    return resized


@cache
def _operation(name: str, *arguments: Any) -> Any:
    # Made once: each has a constructor that costs as much as applying it to a small image.
    return getattr(_transforms(), name)(*arguments)


@cache
def _transforms() -> Any:
    require("torchvision", extra="server", needed_by="resizing and augmenting images")
    from torchvision.transforms import v2

    return v2
