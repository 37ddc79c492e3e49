"""What a regression bundle says of the source: statistics of its latent codes and of their targets."""

from typing import Self, cast

import numpy as np

from ...bundle import LinearLayer
from ...errors import BundleFormatError
from ...latent import Codes, LatentCode
from ...record import record
from ...tensors import Arrays
from ..adaptation.coordinates import Coordinates
from ..heads.problem import Float64, Weights
from ..statistics import SourceStatistics, Statistics
from .ridge import SourceMoments

_HOSTILE = "expected {} in the source statistics, found others. Get the bundle again from where it came from."
# Of the greatest covariance that the spreads allow: what is beyond is no rounding.
_ROUNDING = 1.001


@record(eq=False)
class RegressionSource:
    """Statistics of the source.

    The codes' own are sums of integers, and exact. Targets are real numbers: theirs are centred, which rounds least,
    and as exact as float64 sums are.

    Args:
        codes: Statistics of the codes, as those of one class.
        target: ``(t,) float64`` mean of each target.
        square: ``(t,) float64`` sum of squared deviations from it.
        cross: ``(t, d) float64`` sum of products of deviations of targets and codes.
    """

    codes: SourceStatistics
    target: Float64
    square: Float64
    cross: Float64

    @classmethod
    def of(cls, codes: Codes, y: Float64, rank: int | None = None) -> Self:
        """Compute the statistics that travel in a bundle.

        Args:
            codes: ``(n, d) uint8``.
            y: ``(n, t)`` targets.
            rank: As for `SourceStatistics.compress`.
        """
        found = Statistics.of(codes, np.zeros(len(codes), np.int64), 1)
        target = y.mean(axis=0)
        away = y - target
        mean = found.sum[0] / len(codes)
        # Deviations add up to 0 but for rounding, which the mean of the codes would magnify.
        cross = away.T @ codes - np.outer(away.sum(axis=0), mean)
        return cls(SourceStatistics.compress(found, rank), target, (away**2).sum(axis=0), cross)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read the arrays of a bundle's `source.safetensors`.

        Raises:
            BundleFormatError: If they are not what samples can give.
        """
        names = ("target", "square", "cross")
        codes = SourceStatistics.from_arrays({name: found for name, found in arrays.items() if name not in names})
        target, square, cross = (cast(Float64, arrays[name]) for name in names)
        if codes.samples < 1:
            raise BundleFormatError(_HOSTILE.format("at least one sample"))
        if (square < 0).any() or not np.isfinite(square).all():
            raise BundleFormatError(_HOSTILE.format("squares of targets of at least 0"))
        most = np.sqrt(square)[:, None] * np.sqrt(codes.within_diagonal())
        if (np.abs(cross) > _ROUNDING * most + 1e-6 * np.sqrt(square)[:, None]).any():
            raise BundleFormatError(_HOSTILE.format("products of targets and codes that their spreads allow"))
        return cls(codes, target, square, cross)

    def arrays(self) -> Arrays:
        """Return the arrays to store in a bundle."""
        return {**self.codes.arrays(), "target": self.target, "square": self.square, "cross": self.cross}

    def moments(self, coordinates: Coordinates) -> SourceMoments:
        """Express them in coordinates."""
        term = coordinates.source(self.codes, np.zeros(1, np.int64), 1)
        cross = coordinates.reduce(self.cross / coordinates.spread)
        return SourceMoments(float(term.count[0]), term.mean[0], term.scatter, self.target, cross)

    def directions(self, coordinates: Coordinates, code: LatentCode) -> LinearLayer:
        """Return the products of targets and codes as a head, for coordinates that are to hold their directions."""
        weight = self.cross / (coordinates.spread**2 * code.scale)
        length = np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-300)
        return LinearLayer((weight / length).astype(np.float32), np.zeros(len(weight), np.float32))

    def kept(self, moments: SourceMoments, weights: Weights) -> float:
        """Return how well the source's targets follow from a head, but for an offset and a scale.

        A new zero or gain of an instrument changes both, and nothing of what the head looks at.

        Args:
            moments: These statistics in the coordinates of the head.
            weights: The head.

        Returns:
            The squared correlation of targets and predictions, 0 where it is negative; the mean over the targets.
            Exact, but for the low-rank form.
        """
        along = (weights.weight * moments.cross).sum(axis=1)
        spread = ((weights.weight @ moments.scatter) * weights.weight).sum(axis=1)
        share = np.maximum(along, 0) ** 2 / np.maximum(spread * self.square, 1e-300)
        return float(np.clip(share, 0, 1).mean())
