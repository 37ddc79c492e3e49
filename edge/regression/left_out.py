"""What a least-squares fit is off by on samples that it was not fitted on, without fitting it again."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..heads.problem import Float64

# Rows that are taken at a time, and numbers of matrices that are solved together: they bound the memory.
_BLOCK, TOGETHER = 1_024, 1 << 16


def leave_out(z: Float64, weight: Float64, units: NDArray[np.int64], inverses: Float64, residual: Float64) -> None:
    """Turn residuals of a fit on all samples into those of fits without the sample's unit, in place.

    Without a unit of samples ``Z``, residuals ``r`` of the fit on all become ``(I - Z V Z^T S)^-1 r`` (the
    leave-one-out formula of Allen 1974, "The Relationship between Variable Selection and Data Augmentation", for
    several samples at once). For a unit of more samples than coordinates it is solved in the coordinates, as
    ``r + Z V' (I - V' Z^T S Z V')^-1 V' Z^T S r`` with ``V' V' = V`` (Woodbury 1950, "Inverting Modified Matrices").

    Args:
        z: ``(n, m)`` coordinates of the samples, the column of the bias among them.
        weight: ``(n,)`` weights ``S`` of the samples.
        units: ``(n,)`` numbers 0, 1, ... of what is held out together.
        inverses: ``(r, m)`` diagonal ``V`` of the inverse of the penalised second moment, for each of r fits.
        residual: ``(r, n, t)`` residuals of the fits on all, which are replaced.
    """
    sizes = np.bincount(units)
    alone = np.flatnonzero(sizes[units] == 1)
    for rows in _blocks(alone):
        square = z[rows]
        square *= square
        residual[:, rows] /= (1 - (square @ inverses.T).T * weight[rows])[:, :, None]
    together = np.flatnonzero(sizes[units] > 1)
    order = together[np.argsort(units[together], kind="stable")]
    for rows in np.split(order, np.cumsum(sizes[sizes > 1])[:-1]) if len(order) else ():
        if len(rows) > z.shape[1]:
            _in_coordinates(z, weight, rows, inverses, residual)
        else:
            _in_samples(z[rows], weight[rows], rows, inverses, residual)


def _in_samples(z: Float64, weight: Float64, rows: NDArray[np.intp], inverses: Float64, residual: Float64) -> None:
    at_once = max(1, TOGETHER // z.size)
    for first in range(0, len(inverses), at_once):
        some = slice(first, first + at_once)
        left = (z * inverses[some, None, :]) @ z.T
        left *= -weight
        left[:, np.arange(len(rows)), np.arange(len(rows))] += 1
        residual[some, rows] = np.linalg.solve(left, residual[some, rows])


def _in_coordinates(z: Float64, weight: Float64, rows: NDArray[np.intp], inverses: Float64, residual: Float64) -> None:
    m = z.shape[1]
    moment, along = np.zeros((m, m)), np.zeros((len(residual), m, residual.shape[2]))
    for some in _blocks(rows):
        part = z[some]
        weighed = part * weight[some, None]
        moment += weighed.T @ part
        along += weighed.T @ residual[:, some]
    for place, root in enumerate(np.sqrt(inverses)):
        left = moment * -root
        left *= root[:, None]
        left[np.diag_indices(m)] += 1
        step = root[:, None] * np.linalg.solve(left, root[:, None] * along[place])
        for some in _blocks(rows):
            residual[place, some] += z[some] @ step


def _blocks(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for first in range(0, len(rows), _BLOCK):
        yield rows[first : first + _BLOCK]
