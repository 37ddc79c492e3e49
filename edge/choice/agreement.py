"""How far rankings agree, and one ranking of several."""

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from .checks import Float64


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Return Kendall's tau-b of two lists of scores: 1 for the same order, -1 for the opposite one.

    Kendall 1945, "The treatment of ties in ranking problems": the pairs in the same order less those in the opposite
    one, over the root of the pairs untied in a times those untied in b.

    Args:
        a: ``(m,)`` scores, at least two, finite.
        b: ``(m,)`` scores.

    Returns:
        The coefficient; NaN where one of the lists is all ties, and says nothing.

    Raises:
        InputError: If they are not two lists of as many finite numbers.
    """
    x, y = _table([a, b])
    upper = np.triu_indices(len(x), 1)
    first, second = np.sign(x[:, None] - x)[upper], np.sign(y[:, None] - y)[upper]
    untied = float((first != 0).sum()) * float((second != 0).sum())
    return float((first * second).sum() / np.sqrt(untied)) if untied else float("nan")


def ranks(scores: ArrayLike) -> Float64:
    """Return the rank of each score, 1 for the highest; ties share the mean of their ranks.

    Args:
        scores: ``(m,)`` finite numbers, at least two.

    Raises:
        InputError: If they are anything else.
    """
    (found,) = _table([scores])
    higher = (found > found[:, None]).sum(axis=1)
    result: Float64 = higher + ((found == found[:, None]).sum(axis=1) + 1) / 2
    return result


def mean_ranks(table: ArrayLike) -> Float64:
    """Return the mean rank of each candidate over several measures, which orders them as Borda's count does.

    Args:
        table: ``(r, m)`` scores of m candidates by r measures, higher better in each; whatever their units.

    Raises:
        InputError: If it is not such a table of finite numbers.
    """
    result: Float64 = np.mean([ranks(row) for row in _table(table)], axis=0)
    return result


def concordance(table: ArrayLike) -> float:
    """Return Kendall's W, how far several rankings agree: 0 not at all, 1 wholly; corrected for ties.

    Kendall and Babington Smith 1939, "The problem of m rankings". It is ``(1 + (r - 1) s) / r`` with s the mean of
    Spearman's correlations between all pairs of the r rankings, so that unrelated ones come to about 1 / r.

    Args:
        table: ``(r, m)`` scores of m candidates by r measures, at least two of each.

    Returns:
        The coefficient; NaN where all rankings are nothing but ties.

    Raises:
        InputError: If it is not such a table of finite numbers.
    """
    found = _table(table)
    r, m = found.shape
    if r < 2:
        raise InputError(f"expected at least 2 rankings to compare, found {r}. Measure the candidates in another way.")
    each = np.array([ranks(row) for row in found])
    # Summed over the ranks of a ranking, the cube less the number of each group of ties.
    sizes = (each[:, :, None] == each[:, None, :]).sum(axis=2)
    ties = float((sizes**2 - 1).sum())
    most = r**2 * (m**3 - m) - r * ties
    total = each.sum(axis=0)
    return float(12 * ((total - total.mean()) ** 2).sum() / most) if most > 0 else float("nan")


def _table(values: object) -> Float64:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected scores of as many candidates each, found that {error}. Score them all.") from error
    if found.ndim != 2 or found.shape[1] < 2 or not len(found) or not np.isfinite(found).all():
        raise InputError(
            f"expected finite scores of at least 2 candidates, found shape {found.shape[1:] or found.shape}"
            f"{'' if np.isfinite(found).all() else ' with NaN or infinity'}. Leave out what has no score."
        )
    return found
