"""Spectrograms on the mel scale, in logarithms."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError

# Smallest power before the logarithm; that of 16-bit silence is far below it.
FLOOR = 1e-6


def log_mel(sound: Tensor, rate: int, *, mels: int, window: int, hop: int) -> Tensor:
    """Return the natural logarithm of the power in mel bands.

    Args:
        sound: ``(n,) float32``, n of one window or more.
        rate: Samples per second.
        mels: Number of bands, from 0 Hz to half the rate.
        window: Samples of the Hann window.
        hop: Samples from window to window.

    Returns:
        ``(mels, 1 + (n - window) // hop) float32``.

    Raises:
        InputError: If the bands are so many that the window tells nothing of some.

    References:
        The mel scale is that of HTK: 2595 log10(1 + f / 700).
    """
    size = 1 << (window - 1).bit_length()
    frames = sound.unfold(0, window, hop) * torch.hann_window(window)
    power = torch.fft.rfft(frames, size).abs().square()
    bands: Tensor = (power @ _filters(rate, mels, size)).clamp_(min=FLOOR).log_().T
    return bands.contiguous()


@lru_cache(maxsize=8)
def _filters(rate: int, mels: int, size: int) -> Tensor:
    bank = mel_filters(rate, mels, size)
    if not bank.any(axis=0).all():
        raise InputError(
            f"expected mel bands that each hold a frequency of the spectrogram ({rate / size:.1f} Hz apart), found "
            f"{mels} bands. Set fewer data.mels, or a longer data.window_ms."
        )
    return torch.from_numpy(bank.astype(np.float32))


def mel_filters(rate: int, mels: int, size: int) -> NDArray[np.float64]:
    """Return triangles of height 1, evenly spaced on the mel scale, ``(size // 2 + 1, mels) float64``."""
    most = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, most, mels + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles
