"""How a map is stored: one unsigned byte per value, with a scale and an offset per channel."""

import math
from typing import Self

import numpy as np

from .latent import Codes, Float32, LatentCode
from .record import record


@record(eq=False)
class MapCode:
    """Affine 8-bit quantization of a map, one scale and offset per channel.

    A value ``z`` is stored as ``clip(rint((z - offset) / scale), 0, 255)`` and read back as ``scale * code + offset``.

    Args:
        scale: ``(c,) float32``, above 0.
        offset: ``(c,) float32``, the value of code 0.
        shape: Shape of one map.
        axis: The channel axis of a batch of maps, counted from the batch axis, which is 0.
    """

    scale: Float32
    offset: Float32
    shape: tuple[int, ...]
    axis: int

    @property
    def size(self) -> int:
        """Number of values, and of bytes, of one map."""
        return math.prod(self.shape)

    @classmethod
    def fit(cls, maps: Float32, axis: int, headroom: float = 0.5) -> Self:
        """Choose scale and offset from example maps.

        Args:
            maps: ``(n, *shape) float32``.
            axis: The channel axis of the batch.
            headroom: As for `LatentCode.fit`.

        Returns:
            The quantization.
        """
        others = tuple(i for i in range(maps.ndim) if i != axis)
        code = LatentCode.fit(np.stack([maps.min(axis=others), maps.max(axis=others)]), headroom)
        return cls(code.scale, code.offset, tuple(maps.shape[1:]), axis)

    def encode(self, maps: Float32) -> Codes:
        """Quantize maps ``(n, *shape) float32`` to codes ``(n, size) uint8``."""
        scaled = (maps - self._along(self.offset)) / self._along(self.scale)
        np.rint(scaled, out=scaled)
        return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8).reshape(len(maps), self.size)

    def decode(self, codes: Codes) -> Float32:
        """Return the maps ``(n, *shape) float32`` that codes ``(n, size) uint8`` stand for."""
        shaped = codes.reshape(len(codes), *self.shape)
        return shaped * self._along(self.scale) + self._along(self.offset)

    def clip(self, maps: Float32) -> Float32:
        """Bring maps ``(n, *shape) float32`` into the range that codes can stand for, without rounding."""
        low = self._along(self.offset)
        return np.minimum(np.maximum(maps, low), self._along(self.offset + 255 * self.scale))

    def saturation(self, maps: Float32) -> float:
        """Return the share of values ``(n, *shape) float32`` that fall outside the 8-bit range."""
        scaled = (maps - self._along(self.offset)) / self._along(self.scale)
        return float(np.mean((scaled < -0.5) | (scaled > 255.5))) if maps.size else 0.0

    def _along(self, values: Float32) -> Float32:
        return values.reshape([-1 if i == self.axis - 1 else 1 for i in range(len(self.shape))])
