"""CORAL for wide latents: with covariances of low rank + diagonal, no ``(d, d)`` matrix is ever made.

A root of ``diag(u) (I + F^T F) diag(u)`` is ``diag(u) (I + F^T F)^(1/2)``, which differs from the identity in as many
directions as F has rows. It is the symmetric root, and the map that of `coral_map`, where all u are alike; else it is
the map that is symmetric once each feature is measured in units of its own rest.

References:
    Sun, Feng and Saenko 2016, "Return of frustratingly easy domain adaptation".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from ..statistics import SourceStatistics
from .checks import check_rows
from .coral import check_ridge

Float64 = NDArray[np.float64]
_FLAT = 1e-12


@record(eq=False)
class ThinCovariance:
    """A mean, and a covariance ``factor.T @ factor + diag(diagonal)``.

    Args:
        mean: ``(d,)``.
        factor: ``(r, d)``.
        diagonal: ``(d,)``, at least 0.
    """

    mean: Float64
    factor: Float64
    diagonal: Float64


@record(eq=False)
class ThinMap:
    """``x -> outer * C W (inner * (x - here)) + there``, where C and W are the identity plus a matrix of low rank.

    Args:
        here: ``(d,)`` mean that is taken off.
        inner: ``(d,)`` factor of each feature before.
        whiten: ``(r, d)`` orthonormal directions, with ``(r,)`` factors less 1.
        colour: ``(s, d)`` orthonormal directions, with ``(s,)`` factors less 1.
        outer: ``(d,)`` factor of each feature after.
        there: ``(d,)`` mean that is added.
    """

    here: Float64
    inner: Float64
    whiten: tuple[Float64, Float64]
    colour: tuple[Float64, Float64]
    outer: Float64
    there: Float64

    def apply(self, x: Float64) -> Float64:
        """Return the ``(n, d)`` images of ``(n, d)`` rows."""
        return _along(_along((x - self.here) * self.inner, self.whiten), self.colour) * self.outer + self.there

    def fold(self, weight: Float64, bias: Float64) -> tuple[Float64, Float64]:
        """Return the linear layer that does with a row what a layer ``(k, d)``, ``(k,)`` did with its image."""
        found = _along(_along(weight * self.outer, self.colour), self.whiten) * self.inner
        return found, bias + weight @ self.there - found @ self.here


def thin_coral_map(source: ThinCovariance, target: ThinCovariance, *, ridge: float = 1.0) -> ThinMap:
    """Return the map of source samples into the target's coordinates; swap the two for the way back.

    Args:
        source: Of the samples to map.
        target: Of where they go.
        ridge: Added to both diagonals, in squared units of the features. With 0 the covariance of the mapped samples is
            the target's exactly.

    Returns:
        The map; it costs ``O((r + s) d)`` a sample and as much memory.

    Raises:
        InputError: If widths differ, a value is not finite, the ridge is negative, or a diagonal is 0 in places and the
            ridge is 0.
    """
    check_ridge(ridge)
    if source.mean.shape != target.mean.shape:
        raise InputError(
            f"expected statistics of one width, found {len(source.mean)} features of the source and "
            f"{len(target.mean)} of the target. Compute both with the same backbone."
        )
    here, whiten = _root(source, ridge, -0.5, "source")
    there, colour = _root(target, ridge, 0.5, "target")
    return ThinMap(source.mean, 1 / here, whiten, colour, there, target.mean)


def thin_of_samples(x: ArrayLike) -> ThinCovariance:
    """Return the covariance of ``(n, d)`` samples: as many directions as samples, and no rest.

    Raises:
        InputError: As `check_rows`.
    """
    rows = check_rows(x, "latent")
    mean = rows.mean(axis=0)
    return ThinCovariance(mean, (rows - mean) / np.sqrt(len(rows) - 1), np.zeros(len(mean)))


def thin_of_statistics(source: SourceStatistics) -> ThinCovariance:
    """Return the covariance over all samples that a bundle's statistics tell of, in units of latent codes.

    Where the bundle has the whole second moment, all of its directions are kept.

    Raises:
        InputError: If they tell of fewer than two samples.
    """
    n = source.samples
    if n < 2:
        raise InputError(f"expected source statistics of at least 2 samples, found {n:.0f}. Convert with more samples.")
    mean: Float64 = source.sum.sum(axis=0) / n
    if source.moment is not None:
        scatter = source.moment - n * np.outer(mean, mean)
        values, vectors = np.linalg.eigh((scatter + scatter.T) / 2)
        factor = (vectors * np.sqrt(np.maximum(values, 0) / (n - 1))).T
        return ThinCovariance(mean, factor, np.zeros(len(mean)))
    if source.factor is None or source.diagonal is None:
        raise AssertionError("source statistics hold a moment or a factor with its diagonal")
    between = np.sqrt(source.count)[:, None] * (source.mean() - mean)
    between[source.count == 0] = 0
    factor = np.concatenate([source.factor.astype(np.float64), between]) / np.sqrt(n - 1)
    return ThinCovariance(mean, factor, source.diagonal / (n - 1))


def _root(of: ThinCovariance, ridge: float, exponent: float, side: str) -> tuple[Float64, tuple[Float64, Float64]]:
    """Return the units ``(d,)`` and the power of ``I + F^T F`` in those units, as directions and factors less 1."""
    if not all(np.isfinite(part).all() for part in (of.mean, of.factor, of.diagonal)) or (of.diagonal < 0).any():
        raise InputError(f"expected finite statistics of the {side} with a diagonal of 0 or more, found others.")
    rest = of.diagonal + ridge
    if not (rest > _FLAT * rest.max()).all():
        raise InputError(
            f"expected a rest above 0 in every feature of the {side}, found none in "
            f"{int((rest <= _FLAT * rest.max()).sum())} of {len(rest)}. Give a ridge above 0."
        )
    unit = np.sqrt(rest)
    _, values, axes = np.linalg.svd(of.factor / unit, full_matrices=False)
    return unit, (axes, (1 + values**2) ** exponent - 1)


def _along(x: Float64, power: tuple[Float64, Float64]) -> Float64:
    axes, factors = power
    result: Float64 = x + ((x @ axes.T) * factors) @ axes
    return result
