"""mixup and CutMix: batches in which every sample is blended with another, labels alike."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def mix(x: Tensor, y: Tensor, classes: int, *, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Blend every sample of a batch with another one; draws from torch's generator of the CPU.

    Args:
        x: ``(b, ...) float32``.
        y: ``(b,) int64``, 0 to classes - 1; a -1 is no class and has no target.
        classes: Number of classes.
        mixup: Alpha of mixup, 0 for none.
        cutmix: Alpha of CutMix, 0 for none. Takes ``(b, c, h, w)``, or ``(b, ..., t)`` along its last axis. With both,
            a coin decides.

    Returns:
        Blended inputs, and targets ``(b, classes)``, each row adding up to 1.

    References:
        Zhang et al. 2018, "mixup: beyond empirical risk minimization"; Yun et al. 2019, "CutMix".
    """
    cuts = cutmix > 0 and (mixup == 0 or bool(torch.rand(()) < 0.5))
    alpha = cutmix if cuts else mixup
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(x)).to(x.device)
    if cuts:
        x, share = _paste(x, x[other], share)
    else:
        x = torch.lerp(x[other], x, share)
    targets = _one_hot(y, classes, x.dtype)
    return x, torch.lerp(targets[other], targets, share)


def _paste(x: Tensor, other: Tensor, share: float) -> tuple[Tensor, float]:
    """Paste a rectangle of about 1 - share of the area; return the share that stayed."""
    axes = range(2, x.dim()) if x.dim() >= 4 else (x.dim() - 1,)
    side = (1 - share) ** (1 / len(axes))
    x, stays = x.clone(), 1.0
    place: list[slice] = [slice(None)] * x.dim()
    for axis in axes:
        length = x.shape[axis]
        centre = int(torch.randint(length, ()))
        half = math.floor(side * length / 2)
        place[axis] = slice(max(centre - half, 0), min(centre + half, length))
        stays *= (place[axis].stop - place[axis].start) / length
    x[tuple(place)] = other[tuple(place)]
    return x, 1 - stays


def _one_hot(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    return functional.one_hot(y.clamp(min=0), classes).to(dtype) * (y >= 0).unsqueeze(1)
