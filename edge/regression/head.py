"""A regression head in use: linear layer, what it was judged on, how far off it is."""

import math
from dataclasses import field
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...errors import BundleFormatError, StoreCorruptError
from ...record import record
from ...tensors import pack, unpack
from ..heads.problem import Float64

Float32 = NDArray[np.float32]
Ids = NDArray[np.int64]
# Share of the held-out samples whose error the interval covers.
COVERAGE = 0.9
_ADVICE = "Restore the store from a copy, or start a new one."


@record(eq=False)
class RegressionHead:
    """A linear regressor on latents. Immutable, so that a reader never sees half of a change.

    Args:
        layer: The weights, one row per target.
        judged: ``(n,) int64`` ids of the samples it was fitted on, ascending.
        predicted: ``(n, t) float32`` what it predicted for them without them: what stands for its predictions when a
            successor is compared with it on the same samples.
        interval: ``(t,) float32`` half-width of the 90 % interval of each target, or empty where too few samples say.
    """

    layer: LinearLayer
    judged: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    predicted: Float32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    interval: Float32 = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def columns(self) -> None:
        """Rows and targets are the same."""
        return

    def values(self, latents: Float32) -> Float32:
        """Return ``(n, t) float32`` values for ``(n, d) float32`` latents."""
        result: Float32 = latents @ self.layer.weight.T
        result += self.layer.bias
        return result

    def held_out(self, ids: Ids, latents: Float32) -> Float64:
        """Predict stored samples as if none of them had been fitted on.

        Args:
            ids: ``(n,)`` sample ids.
            latents: ``(n, d) float32``.

        Returns:
            ``(n, t)``; for samples that it was fitted on, what was predicted without them.
        """
        found = self.values(latents).astype(np.float64)
        if len(self.judged):
            place = np.minimum(np.searchsorted(self.judged, ids), len(self.judged) - 1)
            known = self.judged[place] == ids
            found[known] = self.predicted[place[known]]
        return found

    def to_bytes(self) -> bytes:
        """Return it as safetensors."""
        return pack(
            {
                "weight": self.layer.weight,
                "bias": self.layer.bias,
                "judged": self.judged,
                "predicted": self.predicted.reshape(len(self.judged), len(self.layer.bias)),
                "interval": self.interval,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes, width: int, targets: int, where: str) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            StoreCorruptError: If it is not safetensors of the right kind, or does not fit together.
        """
        try:
            arrays = unpack(
                content,
                where,
                {
                    "weight": ("f4", (targets, width)),
                    "bias": ("f4", (targets,)),
                    "judged": ("i8", (-1,)),
                    "predicted": ("f4", (-1, targets)),
                    "interval": ("f4", (-1,)),
                },
            )
        except BundleFormatError as error:
            raise StoreCorruptError(f"{error} {_ADVICE}") from error
        judged, interval = cast(Ids, arrays["judged"]), cast(Float32, arrays["interval"])
        predicted = cast(Float32, arrays["predicted"])
        if len(judged) != len(predicted) or len(interval) not in (0, targets):
            raise StoreCorruptError(f"{where}: expected a prediction for each sample, found others. {_ADVICE}")
        layer = LinearLayer(cast(Float32, arrays["weight"]), cast(Float32, arrays["bias"]))
        return cls(layer, judged, predicted, interval)


def half_width(y: Float64, predicted: Float64, units: Ids, coverage: float = COVERAGE) -> Float32:
    """Return how far off predictions are, from samples held out.

    The ``ceil((n + 1) coverage)``-th smallest absolute residual, as in conformal prediction (Vovk, Gammerman and Shafer
    2005, "Algorithmic Learning in a Random World"). The residuals are those of fits that lack one unit each, so that
    the coverage is that of the jackknife (Barber et al. 2021, "Predictive Inference with the Jackknife+"): as stated
    for a stable fit and samples of the same place.

    Args:
        y: ``(n, t)`` targets.
        predicted: ``(n, t)`` predictions without the sample's unit.
        units: ``(n,)`` units.
        coverage: Share of samples to be covered.

    Returns:
        ``(t,) float32``, or empty for fewer units than tell: 9 for 90 %.
    """
    n, count = len(y), len(np.unique(units))
    if math.ceil((count + 1) * coverage - 1e-9) > count:
        return np.empty(0, np.float32)
    rank = min(math.ceil((n + 1) * coverage - 1e-9), n)
    width: Float32 = np.sort(np.abs(predicted - y), axis=0)[rank - 1].astype(np.float32)
    return width
