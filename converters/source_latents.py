"""Latents of the source: in memory while they are few, in a temporary file beyond."""

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ConversionError
from ..latent import LatentCode

Float32 = NDArray[np.float32]
# Rows that are worked on at a time, and bytes that are held in memory.
BLOCK, _IN_MEMORY = 8_192, 2**28


class SourceLatents:
    """Latents with labels, added batch by batch and read block by block.

    Args:
        labels: ``(n, ...)`` what each sample is labelled with.
        width: Number of dimensions.
        in_memory: Bytes above which they go into a temporary file, which vanishes with this.
    """

    def __init__(self, labels: NDArray[Any], width: int, in_memory: int = _IN_MEMORY) -> None:
        self.labels, self.width = labels, width
        self.low, self.high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
        self._file = SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115  closed by __exit__
        self._added = 0

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory or the file back."""
        self._file.close()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def add(self, latents: Float32) -> None:
        """Add the latents ``(m, d) float32`` of the next samples.

        Raises:
            ConversionError: If the disk is full.
        """
        np.minimum(self.low, latents.min(axis=0), out=self.low)
        np.maximum(self.high, latents.max(axis=0), out=self.high)
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(latents, np.float32).tobytes())
        except OSError as error:
            raise ConversionError(
                f"expected room for the latents of {len(self):,} source samples, {4 * self.width:,} bytes each, found: "
                f"{error}. Set TMPDIR to a folder on another disk, or pass fewer samples."
            ) from error
        self._added += len(latents)

    def blocks(self) -> Iterator[tuple[Float32, NDArray[Any]]]:
        """Go through latents ``(m, d) float32`` and their labels."""
        for start in range(0, len(self), BLOCK):
            end = min(start + BLOCK, len(self))
            yield self._read(start, end), self.labels[start:end]

    def take(self, rows: NDArray[np.int64]) -> Float32:
        """Return the latents ``(m, d) float32`` of some samples, places ascending."""
        found = np.empty((len(rows), self.width), np.float32)
        for start in range(0, len(self), BLOCK):
            end = min(start + BLOCK, len(self))
            first, last = np.searchsorted(rows, (start, end))
            if last > first:
                found[first:last] = self._read(start, end)[rows[first:last] - start]
        return found

    def code(self, others: Float32) -> LatentCode:
        """Choose the quantization of these latents and others ``(m, d) float32``."""
        low, high = np.minimum(self.low, others.min(axis=0)), np.maximum(self.high, others.max(axis=0))
        return LatentCode.fit(np.stack([low, high]))

    def saturation(self, code: LatentCode) -> float:
        """Return the share of values outside of what a quantization can stand for."""
        outside = sum(round(code.saturation(latents) * latents.size) for latents, _ in self.blocks())
        return outside / max(1, len(self) * self.width)

    def _read(self, start: int, end: int) -> Float32:
        if self._added != len(self):
            raise AssertionError(f"{self._added} latents for {len(self)} labels")
        self._file.seek(4 * self.width * start)
        content = self._file.read(4 * self.width * (end - start))
        return np.frombuffer(content, np.float32).reshape(end - start, self.width)
