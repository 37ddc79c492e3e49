"""A kernel matrix as a product of tall factors, from few of its columns."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def pivoted_cholesky(
    column: Callable[[int], Float64], diagonal: Float64, most: int, *, tolerance: float = 1e-10
) -> tuple[Float64, Float64, NDArray[np.intp]]:
    """Factor a positive semi-definite matrix from columns that are computed as they are needed.

    The incomplete Cholesky factorisation with symmetric pivoting: Harbrecht, Peters and Schneider 2012, "On the
    low-rank approximation by the pivoted Cholesky decomposition". It is the Nystroem approximation on rows that are
    chosen one by one where the error is greatest, and it ends where the rank does: after one column where all rows
    are alike. Memory is ``n r``.

    Args:
        column: Returns the ``(n,)`` column of an index.
        diagonal: ``(n,)`` the matrix's diagonal.
        most: Greatest rank.
        tolerance: End where the sum of what is left of the diagonal is at most this share of its sum.

    Returns:
        ``(n, r)`` factor L; the ``(n,)`` diagonal of what ``L L'`` leaves out, at least 0; and the ``(r,)`` rows that
        were chosen, whose columns ``L L'`` has exactly.
    """
    left, n = diagonal.astype(np.float64), len(diagonal)
    enough = tolerance * float(diagonal.sum())
    rows, chosen = np.empty((min(most, n), n)), np.empty(min(most, n), np.intp)
    for rank in range(len(rows)):
        pivot = int(left.argmax())
        if left.sum() <= enough or left[pivot] <= 0:
            rows, chosen = rows[:rank], chosen[:rank]
            break
        new = column(pivot) - rows[:rank, pivot] @ rows[:rank]
        new /= np.sqrt(left[pivot])
        rows[rank], chosen[rank] = new, pivot
        left = np.maximum(left - new * new, 0.0)
        # Rounding would else let it be chosen again.
        left[pivot] = 0.0
    return np.ascontiguousarray(rows.T), left, chosen
