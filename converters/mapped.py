"""A backbone that gives maps beside latents: what it is made from, and how its maps are compared and quantized."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..edge.runtime.runtime import Embedder
from ..manifest import Runtime, Tap
from ..map_code import MapCode
from .mapped_samples import mapped_samples
from .original import ExportedFiles
from .parity import Parity, compare

Float32 = NDArray[np.float32]
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Mapped:
    """What gives latents and maps.

    Args:
        module: From raw input to latent and map, or its exported files.
        cut: Name of the cut.
        shape: Shape of one map.
        axis: The channel axis of a batch of maps.
        samples: ``(n, ...)`` raw samples, for calibration and comparison.
        maps: ``(n, *shape) float32``, what the module gives for them.
        runtimes: For which the backbone gives maps.
    """

    module: nn.Module | ExportedFiles
    cut: str
    shape: tuple[int, ...]
    axis: int
    samples: NDArray[np.generic]
    maps: Float32
    runtimes: tuple[Runtime, ...] = ("onnx",)

    @classmethod
    def of(cls, module: nn.Module, cut: str, axis: int, samples: NDArray[np.generic]) -> "Mapped":
        """Run a module on at most 64 of the samples, evenly spaced."""
        chosen = mapped_samples(samples)
        batches = [np.ascontiguousarray(chosen[i : i + _BATCH]) for i in range(0, len(chosen), _BATCH)]
        with torch.no_grad():
            parts = [module(torch.from_numpy(batch))[1] for batch in batches]
        maps = torch.cat(parts).numpy()
        return cls(module, cut, tuple(maps.shape[1:]), axis, chosen, maps)

    def measure(self, embedder: Embedder) -> tuple[Parity, MapCode]:
        """Compare a converted backbone's maps with the original's, and choose how they are stored.

        Args:
            embedder: The converted backbone.

        Returns:
            The figures, and the quantization.
        """
        parts = [embedder.embed_with_maps(self.samples[i : i + _BATCH])[1] for i in range(0, len(self.samples), _BATCH)]
        found = np.concatenate(parts)
        rows, m = len(found), math.prod(self.shape)
        parity = compare(found.reshape(rows, m), self.maps.reshape(rows, m), [Tap(self.cut, 0, m)])
        return parity, MapCode.fit(found, self.axis)
