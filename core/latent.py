"""How a latent is stored: one unsigned byte per dimension."""

from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .record import record

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]


@record(eq=False)
class LatentCode:
    """Affine 8-bit quantization of a latent, one scale and offset per dimension.

    A value ``z`` is stored as ``clip(rint((z - offset) / scale), 0, 255)`` and read back as ``scale * code + offset``.

    Args:
        scale: ``(d,) float32``, above 0.
        offset: ``(d,) float32``, the value of code 0.
    """

    scale: Float32
    offset: Float32

    @classmethod
    def fit(cls, latents: Float32, headroom: float = 0.5) -> Self:
        """Choose scale and offset from example latents.

        Args:
            latents: ``(n, d) float32``.
            headroom: Share of each dimension's range that is kept free below and above, for places that the examples do
                not show. A dimension that is never negative gets none below zero. Half a range makes the steps at most
                1.7 times as wide as a tenth does, and clips a third as many numbers where the place is a new one.

        Returns:
            The quantization.
        """
        low, high = latents.min(axis=0).astype(np.float64), latents.max(axis=0).astype(np.float64)
        spread = high - low
        # A dimension that never moved gets the width of a typical one, so that it can move on the device.
        moving = spread > 1e-6 * max(float(spread.max()), 1e-30)
        typical = float(np.median(spread[moving])) if moving.any() else 1.0
        spread = np.where(moving, spread, typical)
        bottom = low - headroom * spread
        bottom = np.where((low >= 0) & (bottom < 0), 0.0, bottom)
        top = np.maximum(high + headroom * spread, bottom + spread)
        return cls(((top - bottom) / 255).astype(np.float32), bottom.astype(np.float32))

    def encode(self, latents: Float32) -> Codes:
        """Quantize latents ``(n, d) float32`` to codes ``(n, d) uint8``."""
        scaled = (latents - self.offset) / self.scale
        np.rint(scaled, out=scaled)
        return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)

    def decode(self, codes: Codes) -> Float32:
        """Return the latents ``(n, d) float32`` that codes ``(n, d) uint8`` stand for."""
        return codes * self.scale + self.offset

    def clip(self, latents: Float32) -> Float32:
        """Bring latents ``(n, d) float32`` into the range that codes can stand for, without rounding.

        A head is fitted on codes. Where the world has moved, a dimension that hardly varied at home may leave its range
        by hundreds of its widths; the head must not see there what it was never fitted on.
        """
        clipped = np.maximum(latents, self.offset)
        return np.minimum(clipped, self.top, out=clipped)

    @cached_property
    def top(self) -> Float32:
        """``(d,) float32``, the value of code 255."""
        return self.offset + 255 * self.scale

    def saturation(self, latents: Float32) -> float:
        """Return the share of values ``(n, d) float32`` that fall outside the 8-bit range."""
        scaled = (latents - self.offset) / self.scale
        return float(np.mean((scaled < -0.5) | (scaled > 255.5))) if latents.size else 0.0
