"""Bring a sound to another sample rate."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Zero crossings of the filter on each side, and where it begins to cut below half the lower rate.
_CROSSINGS, _ROLL_OFF = 16, 0.95


def resample(sound: Tensor, rate: int, wanted: int) -> Tensor:
    """Interpolate band-limited, with a sinc filter under a Hann window; beyond its ends the sound is silent.

    Args:
        sound: ``(n,) float32``.
        rate: Its samples per second.
        wanted: Samples per second of the result.

    Returns:
        ``(ceil(n * wanted / rate),) float32``.

    References:
        Smith 2002, "Digital audio resampling home page" (band-limited interpolation).
    """
    if rate == wanted:
        return sound
    common = math.gcd(rate, wanted)
    down, up = rate // common, wanted // common
    count = -(-len(sound) * up // down)
    weights = _weights(down, up)
    half = weights.shape[1] // 2
    padded = torch.nn.functional.pad(sound, (half, half + down))
    places = torch.arange(count)
    # A row of neighbours for each place, as views of one another until they are taken.
    neighbours = padded.unfold(0, weights.shape[1], 1)[(places * down) // up]
    return torch.einsum("nt,nt->n", neighbours, weights[places % up])


@lru_cache(maxsize=8)
def _weights(down: int, up: int) -> Tensor:
    """Return the filter at each of the `up` places between two samples, ``(up, taps) float32``."""
    cut = min(1.0, up / down) * _ROLL_OFF
    half = math.ceil(_CROSSINGS / cut)
    fraction = (np.arange(up) * down % up / up)[:, None]
    distance = fraction - np.arange(-half, half + 1)
    window = np.where(np.abs(distance) * cut < _CROSSINGS, np.cos(np.pi * distance * cut / (2 * _CROSSINGS)) ** 2, 0)
    weights = np.sinc(cut * distance) * window
    # So that silence and a constant stay what they are.
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
