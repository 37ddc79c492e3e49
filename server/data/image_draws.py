"""What is drawn to vary an image: the box of a crop, a shift, a flip, a rectangle to erase."""

import math
from functools import cache

import torch
from torch import Generator

from .settings import DataSettings

Box = tuple[int, int, int, int]
# Width over height of a crop.
_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10


class ImageDraws:
    """Draws of several images, a list for each kind; of a kind that is not asked for there is none.

    Args:
        settings: Which variations, and how strong.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        # Compared in float32, as torch compares what it draws.
        self._erase = torch.tensor(settings.erase).item()
        self.boxes: list[Box] = []
        self.moves: list[tuple[int, int]] = []
        self.flips: list[bool] = []
        self.holes: list[Box | None] = []

    def add(self, height: int, width: int, generator: Generator) -> None:
        """Draw for one image.

        Args:
            height: Of the image as it was read.
            width: Likewise.
            generator: Of the CPU.
        """
        settings = self.settings
        size = settings.size or (height, width)
        if "crop" in settings.augment:
            self.boxes.append(draw_box(height, width, settings.crop_scale, generator))
        if "shift" in settings.augment:
            self.moves.append(draw_move(*size, settings.shift, generator))
        if "flip" in settings.augment:
            self.flips.append(torch.rand((), generator=generator).item() < 0.5)
        if "erase" in settings.augment:
            erased = torch.rand((), generator=generator).item() < self._erase
            self.holes.append(draw_hole(*size, generator) if erased else None)


def draw_box(height: int, width: int, scale: tuple[float, float], generator: Generator | None) -> Box:
    """Draw the part of an image that a crop takes, as torchvision's RandomResizedCrop does from the same numbers.

    Args:
        height: Of the image, pixels.
        width: Likewise.
        scale: Smallest and largest share of its area.
        generator: Of the CPU; None for torch's own.

    Returns:
        Top, left, height and width; the middle where ten draws do not fit into the image.

    References:
        Szegedy et al. 2015, "Going deeper with convolutions".
    """
    narrow, wide = _log_ratios()
    for _ in range(_ATTEMPTS):
        area = height * width * torch.empty(1).uniform_(*scale, generator=generator).item()
        ratio = torch.empty(1).uniform_(narrow, wide, generator=generator).exp_().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=generator).item())
            return top, int(torch.randint(width - w + 1, (1,), generator=generator).item()), h, w
    w = min(width, round(height * _RATIOS[1]))
    h = min(height, round(width / _RATIOS[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def draw_move(height: int, width: int, share: float, generator: Generator | None) -> tuple[int, int]:
    """Draw how many pixels an image moves down and to the right, up to a share of its size in each direction."""
    most = (round(share * height), round(share * width))
    # Two at once: drawing a number costs as much as moving a small image.
    drawn = torch.rand(2, generator=generator).tolist()
    down, right = (int((2 * m + 1) * u) - m for m, u in zip(most, drawn, strict=True))
    return down, right


def draw_hole(height: int, width: int, generator: Generator | None) -> Box:
    """Draw a rectangle of 2 to 33 % of an image, 0.3 to 3.3 times as high as wide: top, left, height and width.

    References:
        Zhong et al. 2020, "Random erasing data augmentation".
    """
    size, form, above, before = torch.rand(4, generator=generator).tolist()
    area, ratio = (0.02 + 0.31 * size) * height * width, 0.3 * 11**form
    high, wide = min(height, round(math.sqrt(area * ratio))), min(width, round(math.sqrt(area / ratio)))
    return int((height - high + 1) * above), int((width - wide + 1) * before), high, wide


@cache
def _log_ratios() -> tuple[float, float]:
    # In float32, as torchvision takes them.
    narrow, wide = torch.log(torch.tensor(_RATIOS)).tolist()
    return narrow, wide
