"""From images to what a model takes: resized and normalised, and varied for training."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from ...errors import InputError
from ...extras import require
from .image_draws import Box, ImageDraws, draw_box, draw_hole, draw_move
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
        image = _channels_first(raw)
        names = self.settings.augment if vary else ()
        size = self.settings.size
        if "crop" in names:
            height, width = image.shape[1:]
            image = crop_image(image, draw_box(height, width, self.settings.crop_scale, None), size or (height, width))
        else:
            image = _resize(image, size)
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

    @property
    def draws_alone(self) -> bool:
        """Whether `many` can vary images; torchvision's operations draw from the generator of the whole process."""
        return "rand-augment" not in self.settings.augment

    def many(self, raws: Tensor | Sequence[NDArray[Any]], seeds: Sequence[int] | None) -> Tensor:
        """Transform several images at once: each as `__call__` does with torch's generator at its seed.

        Args:
            raws: ``(n, h, w, c) uint8``, or images of any sizes.
            seeds: One per image; None varies nothing.

        Returns:
            ``(n, c, h, w) float32``.
        """
        settings = self.settings
        images = raws.permute(0, 3, 1, 2) if isinstance(raws, Tensor) else [_channels_first(raw) for raw in raws]
        draws = ImageDraws(settings)
        if seeds is not None:
            generator = Generator()
            for image, seed in zip(images, seeds, strict=True):
                generator.manual_seed(seed)
                draws.add(image.shape[1], image.shape[2], generator)
        if draws.boxes:
            framed = [
                crop_image(image, box, settings.size or tuple(image.shape[1:]))
                for image, box in zip(images, draws.boxes, strict=True)
            ]
            batch = torch.stack(framed)
        elif isinstance(images, Tensor):
            batch = _resize(images, settings.size)
        else:
            batch = torch.stack([_resize(image, settings.size) for image in images])
        if draws.moves:
            batch = torch.stack([_moved(image, move) for image, move in zip(batch, draws.moves, strict=True)])
        if draws.flips:
            batch = torch.where(torch.tensor(draws.flips).view(-1, 1, 1, 1), batch.flip(3), batch)
        x = normalise(batch, settings.mean, settings.std)
        for i, hole in enumerate(draws.holes):
            if hole is not None:
                _erase(x[i], hole)
        return x


def normalise(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return ``(..., c, h, w) uint8`` as ``float32``: pixels in 0 to 1, less mean, divided by std.

    Raises:
        InputError: If there are other numbers of means or deviations than channels.
    """
    x = image.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    channels = x.shape[-3]
    for name, values, apply in (("mean", mean, x.sub_), ("std", std, x.div_)):
        if values:
            if len(values) not in (1, channels):
                raise InputError(f"expected {channels} numbers in data.{name}, one per channel, found {len(values)}.")
            apply(torch.tensor(values).view(-1, 1, 1))
    return x


def crop_image(image: Tensor, box: Box, size: Sequence[int]) -> Tensor:
    """Return a part of ``(c, h, w) uint8`` resized to a size, as torchvision does it."""
    top, left, height, width = box
    return _resize(image[:, top : top + height, left : left + width], size)


def shift_image(image: Tensor, share: float) -> Tensor:
    """Move an image by up to a share of its size in each direction; what comes in is black."""
    height, width = image.shape[1:]
    return _moved(image, draw_move(height, width, share, None))


def erase_rectangle(x: Tensor) -> None:
    """Put 0 into a drawn rectangle of an image ``(c, h, w)``, in place."""
    height, width = x.shape[1:]
    _erase(x, draw_hole(height, width, None))


def _moved(image: Tensor, move: tuple[int, int]) -> Tensor:
    down, right = move
    return functional.pad(image, (right, -right, down, -down))


def _erase(x: Tensor, hole: Box) -> None:
    top, left, high, wide = hole
    x[:, top : top + high, left : left + wide] = 0


def _channels_first(raw: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(raw)).permute(2, 0, 1)


def _resize(images: Tensor, size: Sequence[int] | None) -> Tensor:
    """Resize one image or several, ``(..., c, h, w) uint8``; torchvision's way around it costs as much again."""
    if size is None or tuple(images.shape[-2:]) == tuple(size):
        return images
    if not _resizes_bytes():
        resized: Tensor = _transforms().functional.resize(images, list(size), antialias=True)
        return resized
    batch = images if images.dim() == 4 else images[None]
    scaled = functional.interpolate(batch, size=list(size), mode="bilinear", align_corners=False, antialias=True)
    return scaled if images.dim() == 4 else scaled[0]


@cache
def _resizes_bytes() -> bool:
    """Whether torchvision resizes bytes as they are on this processor, and not as float32."""
    vectors = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return vectors or platform.machine() in ("aarch64", "arm64")


@cache
def _operation(name: str, *arguments: Any) -> Any:
    # Made once: each has a constructor that costs as much as applying it to a small image.
    return getattr(_transforms(), name)(*arguments)


@cache
def _transforms() -> Any:
    require("torchvision", extra="server", needed_by="resizing and augmenting images")
    from torchvision.transforms import v2

    return v2
