"""The coordinates in which heads are solved: standardised, and no wider than what is known needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..latent import Codes, LatentCode
from .heads.problem import ABSENT, Float64, SourceTerm, Weights
from .statistics import SourceStatistics

# Below one code of spread a dimension holds little but rounding, which standardising must not blow up.
LEAST_SPREAD = 1.0
# Above this width the axes of a full rotation cost more than they save.
WIDEST_ROTATION = 1024


@dataclass(frozen=True, eq=False)
class Coordinates:
    """``x = ((code - centre) / spread) @ basis``, an affine map of latent codes.

    With fewer samples than dimensions every solution with a penalty that does not prefer a direction lies in the span
    of the samples, the source's means and factor, and the prior: an orthonormal basis of that span makes the problem
    smaller and changes no solution (the representer theorem).

    Args:
        centre: ``(d,)`` in codes.
        spread: ``(d,)`` in codes, above 0.
        basis: ``(d, m)`` with orthonormal columns; None for the identity.
    """

    centre: Float64
    spread: Float64
    basis: Float64 | None

    @property
    def width(self) -> int:
        """Number of coordinates, m."""
        return len(self.centre) if self.basis is None else self.basis.shape[1]

    def standardise(self, codes: NDArray[np.uint8] | Float64) -> Float64:
        """Return ``(n, d)`` standardised codes, not yet in the basis."""
        result: Float64 = codes - self.centre
        result /= self.spread
        return result

    def of(self, codes: NDArray[np.uint8] | Float64) -> Float64:
        """Return the ``(n, m)`` coordinates of ``(n, d)`` codes."""
        return self.reduce(self.standardise(codes))

    def reduce(self, rows: Float64) -> Float64:
        """Return ``(n, d)`` standardised rows in the basis."""
        result: Float64 = rows if self.basis is None else rows @ self.basis
        return result

    def source(self, statistics: SourceStatistics, shipped: NDArray[np.int64], k: int) -> SourceTerm:
        """Express source statistics in these coordinates.

        Args:
            statistics: The bundle's statistics.
            shipped: Place of each of their classes among the problem's k classes.
            k: Number of classes of the problem.

        Returns:
            The term of the source. Of the low-rank form, the part outside of the factor is spread evenly.
        """
        count, mean = np.zeros(k), np.zeros((k, self.width))
        count[shipped] = statistics.count
        mean[shipped] = self.of(statistics.mean())
        if statistics.moment is not None:
            within = statistics.moment - statistics.mean().T @ statistics.sum
            scaled = within / np.outer(self.spread, self.spread)
            scatter = scaled if self.basis is None else self.basis.T @ scaled @ self.basis
            return SourceTerm(count, mean, (scatter + scatter.T) / 2)
        if statistics.factor is None or statistics.diagonal is None:
            raise AssertionError("source statistics hold a moment or a factor with its diagonal")
        factor = self.reduce(statistics.factor / self.spread)
        scatter = factor.T @ factor
        scatter[np.diag_indices(self.width)] += float(np.mean(statistics.diagonal / self.spread**2))
        return SourceTerm(count, mean, scatter)

    def weights(self, layer: LinearLayer, code: LatentCode) -> Weights:
        """Express a head on latents in these coordinates."""
        weight = layer.weight.astype(np.float64)
        bias = layer.bias + weight @ (code.offset + self.centre * code.scale)
        return Weights(self.reduce(weight * code.scale * self.spread), bias)

    def layer(self, weights: Weights, code: LatentCode) -> LinearLayer:
        """Express a head in these coordinates as one on latents."""
        weight = weights.weight if self.basis is None else weights.weight @ self.basis.T
        weight = weight / (self.spread * code.scale)
        bias = weights.bias - weight @ (code.offset + self.centre * code.scale)
        bias = np.where(weights.bias <= ABSENT, ABSENT, bias)
        return LinearLayer(weight.astype(np.float32), bias.astype(np.float32))


def fit_coordinates(
    codes: Codes, source: SourceStatistics | None, prior: LinearLayer | None, code: LatentCode
) -> Coordinates:
    """Choose coordinates for a set of samples.

    Each dimension is centred and divided by its standard deviation over samples and source together, the source
    counting at most as much as the samples (or as 50, where they are fewer): taps of different scale then weigh alike.

    Args:
        codes: ``(n, d) uint8`` samples.
        source: Source statistics, or None.
        prior: The shipped head, or None.
        code: Quantization of the latents.

    Returns:
        The coordinates.
    """
    n, d = codes.shape
    # Squares of codes fit 16 bits: exact, and no copy of all codes as float64.
    centre, squares = codes.mean(axis=0, dtype=np.float64), (codes.astype(np.uint16) ** 2).sum(axis=0, dtype=np.float64)
    variance = np.maximum(squares / n - centre**2, 0)
    if source is not None and source.samples > 0:
        share = min(source.samples, max(n, 50))
        variance = (n * variance + share * source.variance()) / (n + share)
    spread = np.maximum(np.sqrt(variance), LEAST_SPREAD)
    whole = Coordinates(centre, spread, None)
    spanning = [whole.standardise(codes)]
    if source is not None:
        if source.factor is None:
            return _rotated(whole, spanning[0], source)
        spanning += [whole.standardise(source.mean()), source.factor / spread]
    if prior is not None:
        spanning.append(prior.weight.astype(np.float64) * code.scale * spread)
    if sum(map(len, spanning)) >= d:
        return _rotated(whole, spanning[0], source)
    return Coordinates(centre, spread, _orthonormal(spanning[0] if len(spanning) == 1 else np.vstack(spanning)))


def _rotated(whole: Coordinates, rows: Float64, source: SourceStatistics | None) -> Coordinates:
    """Turn coordinates to the principal axes of samples and source: it changes no solution and makes solving fast."""
    d = len(whole.centre)
    if d > WIDEST_ROTATION:
        return whole
    total = rows.T @ rows
    if source is not None:
        term = whole.source(source, np.arange(len(source.count)), len(source.count))
        total += term.scatter + (term.mean * term.count[:, None]).T @ term.mean
    _, axes = np.linalg.eigh(total)
    return Coordinates(whole.centre, whole.spread, axes)


def _orthonormal(rows: Float64) -> Float64:
    """Return a ``(d, m)`` orthonormal basis of the span of ``(r, d)`` rows, which it overwrites: their principal axes.

    From the Gram matrix, since that is several times faster than a QR or singular value decomposition of long rows.
    Rows count by their direction only, so that a prior of small weights is not lost beside a source of many samples;
    axes with less than 1e-7 of the greatest norm are lost in rounding, and left out.
    """
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > 1e-14 * values[-1]
    basis: Float64 = rows.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return basis
