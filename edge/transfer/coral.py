"""CORAL: the affine map that gives one domain's samples the mean and covariance of another's.

References:
    Sun, Feng and Saenko 2016, "Return of frustratingly easy domain adaptation".
"""

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains

Float64 = NDArray[np.float64]
# A variance below this share of the greatest is rounding: nothing can be whitened there.
_FLAT = 1e-12


@record(eq=False)
class AffineMap:
    """``x -> matrix @ x + offset``.

    Args:
        matrix: ``(d, d) float64``.
        offset: ``(d,) float64``.
    """

    matrix: Float64
    offset: Float64

    def apply(self, x: Float64) -> Float64:
        """Return the ``(n, d)`` images of ``(n, d)`` rows."""
        result: Float64 = x @ self.matrix.T + self.offset
        return result

    def fold(self, weight: Float64, bias: Float64) -> tuple[Float64, Float64]:
        """Return the linear layer that does with a row what a layer did with its image.

        Args:
            weight: ``(k, d)``.
            bias: ``(k,)``.

        Returns:
            Weight and bias, ``float64``; predicting costs what it did.
        """
        return weight @ self.matrix, weight @ self.offset + bias


def coral_map(mean_s: Float64, cov_s: Float64, mean_t: Float64, cov_t: Float64, *, ridge: float = 1.0) -> AffineMap:
    """Return the map of source samples into the target's coordinates: whitened there, coloured here.

    Args:
        mean_s: ``(d,)`` mean of the source.
        cov_s: ``(d, d)`` covariance of the source.
        mean_t: ``(d,)`` mean of the target.
        cov_t: ``(d, d)`` covariance of the target.
        ridge: Added to both diagonals, in squared units of the features; the paper adds 1. With 0 the covariance of the
            mapped samples is the target's exactly.

    Returns:
        The map.

    Raises:
        InputError: If widths differ, a value is not finite, a matrix is no covariance, the ridge is negative, or the
            source does not vary in a direction and the ridge is 0: with constant features, or fewer samples than
            features.
    """
    mean_s, cov_s = _check(mean_s, cov_s, "source")
    mean_t, cov_t = _check(mean_t, cov_t, "target")
    if len(mean_s) != len(mean_t):
        raise InputError(
            f"expected statistics of one width, found {len(mean_s)} features of the source and {len(mean_t)} of the "
            f"target. Compute both with the same backbone."
        )
    check_ridge(ridge)
    values, vectors = _spectrum(cov_s, "source")
    values += ridge
    if values[0] <= _FLAT * values[-1]:
        flat = int((values <= _FLAT * values[-1]).sum())
        raise InputError(
            f"expected covariances that can be inverted, found one that is flat in {flat} of {len(values)} directions. "
            f"Give a ridge above 0, more samples, or leave constant features out."
        )
    whiten = (vectors / np.sqrt(values)) @ vectors.T
    values, vectors = _spectrum(cov_t, "target")
    matrix = (vectors * np.sqrt(values + ridge)) @ vectors.T @ whiten
    return AffineMap(matrix, mean_t - matrix @ mean_s)


def coral_map_back(
    mean_s: Float64, cov_s: Float64, mean_t: Float64, cov_t: Float64, *, ridge: float = 1.0
) -> AffineMap:
    """Return the map of target samples into the source's coordinates, which a head trained there wants.

    It is the inverse of `coral_map` with the same arguments.

    Args:
        mean_s: As in `coral_map`.
        cov_s: Likewise.
        mean_t: Likewise.
        cov_t: Likewise.
        ridge: Likewise.

    Raises:
        InputError: As in `coral_map`; it is the target that has to vary here.
    """
    return coral_map(mean_t, cov_t, mean_s, cov_s, ridge=ridge)


def coral_samples(source: ArrayLike, target: ArrayLike, *, ridge: float = 1.0) -> AffineMap:
    """Return the map of source samples into the target's coordinates, from samples of both.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        ridge: As in `coral_map`.

    Raises:
        InputError: As `check_domains` and `coral_map`.
    """
    rows, others = check_domains(source, target)
    return coral_map(*moments(rows), *moments(others), ridge=ridge)


def moments(rows: Float64) -> tuple[Float64, Float64]:
    """Return the ``(d,)`` mean and the unbiased ``(d, d)`` covariance of ``(n, d)`` rows."""
    mean = rows.mean(axis=0)
    apart = rows - mean
    return mean, apart.T @ apart / (len(rows) - 1)


def check_ridge(ridge: float) -> None:
    """Refuse a ridge that is negative or not finite."""
    if not (np.isfinite(ridge) and ridge >= 0):
        raise InputError(f"expected a ridge of 0 or more, found {ridge}.")


def _check(mean: ArrayLike, covariance: ArrayLike, side: str) -> tuple[Float64, Float64]:
    centre, spread = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    if centre.ndim != 1 or not len(centre) or spread.shape != (len(centre), len(centre)):
        raise InputError(
            f"expected a mean (d,) and a covariance (d, d) of the {side}, found shapes {centre.shape} and "
            f"{spread.shape}."
        )
    if not (np.isfinite(centre).all() and np.isfinite(spread).all()):
        raise InputError(f"expected finite statistics of the {side}, found NaN or infinity. Leave those samples out.")
    if not np.allclose(spread, spread.T, rtol=1e-6, atol=1e-9 * float(np.abs(spread).max())):
        raise InputError(f"expected a symmetric covariance of the {side}, found another matrix.")
    return centre, spread


def _spectrum(covariance: Float64, side: str) -> tuple[Float64, Float64]:
    """Return eigenvalues, ascending and at least 0, and eigenvectors of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -1e-6 * max(values[-1], 0.0) or values[-1] < 0:
        raise InputError(f"expected a covariance of the {side}, found a matrix with a negative variance ({values[0]}).")
    return np.maximum(values, 0), cast(Float64, vectors)
