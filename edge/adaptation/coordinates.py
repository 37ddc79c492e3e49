"""The coordinates in which heads are solved: standardised, and no wider than what is known needs."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...bundle import LinearLayer
from ...latent import Codes, LatentCode
from ...record import record
from ..heads.problem import ABSENT, Float64, SourceTerm, Weights
from ..statistics import SourceStatistics

# Below one code of spread a dimension holds little but rounding, which standardising must not blow up.
LEAST_SPREAD = 1.0
# Above this width the axes of a full rotation cost more than they save.
WIDEST_ROTATION = 1536
# Coordinates of more numbers than this are held as float32; codes are taken so many rows at a time.
_MANY, _BLOCK = 1 << 25, 4_096


@record(eq=False)
class Basis:
    """Orthonormal axes, given as mixtures of rows, which costs less than to write them out.

    Args:
        rows: ``(r, d)``.
        mix: ``(r, m)``; the axes are the columns of ``rows.T @ mix``. None: the rows are the axes.
    """

    rows: Float64
    mix: Float64 | None

    @property
    def width(self) -> int:
        """Number of axes, m."""
        return len(self.rows) if self.mix is None else self.mix.shape[1]

    @property
    def matrix(self) -> Float64:
        """``(d, m)`` axes as columns."""
        return self.rows.T if self.mix is None else self.rows.T @ self.mix

    def into(self, rows: Float64) -> Float64:
        """Return ``(n, d)`` rows along the axes, ``(n, m)``."""
        along: Float64 = rows @ self.rows.T
        return along if self.mix is None else along @ self.mix

    def out(self, weight: Float64) -> Float64:
        """Return ``(k, m)`` weights along the axes as ``(k, d)``."""
        result: Float64 = (weight if self.mix is None else weight @ self.mix.T) @ self.rows
        return result


@record(eq=False)
class Coordinates:
    """``x = ((code - centre) / spread) @ basis``, an affine map of latent codes.

    With fewer samples than dimensions every solution with a penalty that does not prefer a direction lies in the span
    of the samples, the source's means and factor, and the prior: an orthonormal basis of that span makes the problem
    smaller and changes no solution (the representer theorem).

    Args:
        centre: ``(d,)`` in codes.
        spread: ``(d,)`` in codes, above 0.
        basis: Orthonormal axes; None for the identity.
    """

    centre: Float64
    spread: Float64
    basis: Basis | None

    @property
    def width(self) -> int:
        """Number of coordinates, m."""
        return len(self.centre) if self.basis is None else self.basis.width

    def standardise(self, codes: NDArray[np.uint8] | Float64) -> Float64:
        """Return ``(n, d)`` standardised codes, not yet in the basis."""
        result: Float64 = codes - self.centre
        result /= self.spread
        return result

    def of(self, codes: NDArray[np.uint8] | Float64) -> Float64:
        """Return the ``(n, m)`` coordinates of ``(n, d)`` codes; as float32 where there are very many numbers."""
        if len(codes) * max(codes.shape[1], self.width) <= _MANY:
            return self.reduce(self.standardise(codes))
        result = np.empty((len(codes), self.width), np.float32)
        for start in range(0, len(codes), _BLOCK):
            result[start : start + _BLOCK] = self.reduce(self.standardise(codes[start : start + _BLOCK]))
        return cast(Float64, result)

    def reduce(self, rows: Float64) -> Float64:
        """Return ``(n, d)`` standardised rows in the basis."""
        return rows if self.basis is None else self.basis.into(rows)

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
            scatter = scaled if self.basis is None else self.basis.into(self.basis.into(scaled).T)
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
        weight = weights.weight if self.basis is None else self.basis.out(weights.weight)
        weight = weight / (self.spread * code.scale)
        bias = weights.bias - weight @ (code.offset + self.centre * code.scale)
        bias = np.where(weights.bias <= ABSENT, ABSENT, bias)
        return LinearLayer(weight.astype(np.float32), bias.astype(np.float32))


def fit_coordinates(
    codes: Codes, source: SourceStatistics | None, prior: LinearLayer | None, code: LatentCode
) -> Coordinates:
    """Choose coordinates for a set of samples. See `embed`."""
    return embed(codes, source, prior, code)[0]


def embed(
    codes: Codes, source: SourceStatistics | None, prior: LinearLayer | None, code: LatentCode
) -> tuple[Coordinates, Float64]:
    """Choose coordinates for a set of samples.

    Each dimension is centred and divided by its standard deviation over samples and source together, the source
    counting at most as much as the samples (or as 50, where they are fewer): taps of different scale then weigh alike.

    Args:
        codes: ``(n, d) uint8`` samples.
        source: Source statistics, or None.
        prior: The shipped head, or None.
        code: Quantization of the latents.

    Returns:
        The coordinates, and the samples in them, ``(n, m)``.
    """
    n, d = codes.shape
    whole = _standard(codes, source)
    others = []
    if source is not None:
        if source.factor is None:
            return _rotated(whole, codes, source)
        others += [whole.standardise(source.mean()), source.factor / whole.spread]
    if prior is not None:
        others.append(prior.weight.astype(np.float64) * code.scale * whole.spread)
    if n + sum(map(len, others)) >= d:
        return _rotated(whole, codes, source)
    rows = whole.standardise(codes)
    norms = np.ones(n)
    if others:
        rows = np.vstack([rows, *others])
        # Rows count by their direction only, so that a prior of small weights is not lost beside a source of many.
        norms = np.maximum(np.linalg.norm(rows, axis=1), 1e-300)
        rows /= norms[:, None]
    # From the Gram matrix, since that is several times faster than a QR or singular value decomposition of long rows.
    values, vectors = np.linalg.eigh(rows @ rows.T)
    # Axes with less than 1e-7 of the greatest norm are lost in rounding, and left out.
    kept = values > 1e-14 * values[-1]
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    coordinates = Coordinates(whole.centre, whole.spread, Basis(rows, vectors / roots))
    return coordinates, vectors[:n] * roots * norms[:n, None]


def _standard(codes: Codes, source: SourceStatistics | None) -> Coordinates:
    n, d = codes.shape
    centre, squares = np.zeros(d), np.zeros(d)
    for start in range(0, n, _BLOCK):
        # Squares of codes fit 16 bits: exact, and no copy of all codes as float64.
        block = codes[start : start + _BLOCK].astype(np.uint16)
        centre += block.sum(axis=0, dtype=np.uint64)
        squares += np.square(block, out=block).sum(axis=0, dtype=np.uint64)
    centre /= n
    variance = np.maximum(squares / n - centre**2, 0)
    if source is not None and source.samples > 0:
        share = min(source.samples, max(n, 50))
        variance = (n * variance + share * source.variance()) / (n + share)
    return Coordinates(centre, np.maximum(np.sqrt(variance), LEAST_SPREAD), None)


def _rotated(whole: Coordinates, codes: Codes, source: SourceStatistics | None) -> tuple[Coordinates, Float64]:
    """Turn coordinates to the principal axes of samples and source: it changes no solution and makes solving fast."""
    d = len(whole.centre)
    if d > WIDEST_ROTATION:
        return whole, whole.of(codes)
    total = np.zeros((d, d))
    for start in range(0, len(codes), _BLOCK):
        rows = whole.standardise(codes[start : start + _BLOCK])
        total += rows.T @ rows
    if source is not None:
        term = whole.source(source, np.arange(len(source.count)), len(source.count))
        means = term.mean * np.sqrt(term.count)[:, None]
        total += term.scatter + means.T @ means
    _, axes = np.linalg.eigh(total)
    found = Coordinates(whole.centre, whole.spread, Basis(np.ascontiguousarray(axes.T), None))
    return found, found.of(codes)
