"""Whether two sets of latents come from one distribution: a permutation test on their discrepancy.

References:
    Gretton et al. 2012, "A kernel two-sample test"; Phipson and Smyth 2010, "Permutation p-values should never be
    zero", for the p-value.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains, check_labels
from .kernels import median_bandwidth
from .mmd import Gaussians

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# Samples of each side that are looked at: 500 against 500 take a fraction of a second on a small device.
MOST_ROWS = 500
# Permutations that are scored at a time.
_AT_A_TIME = 256
# The kernel is the mean of Gaussian ones with these multiples of the median distance.
_MULTIPLES = (0.5, 1.0, 2.0)


@record()
class ShiftTest:
    """What the test found.

    Args:
        statistic: Unbiased squared discrepancy, at most 2.
        p_value: Chance of one as great where nothing has shifted; at least ``1 / (permutations + 1)``.
        level: Chance of a false alarm that was allowed.
        shifted: Whether the p-value is at most the level.
        source_rows: Samples of the source that were looked at.
        target_rows: Samples of the target that were looked at.
    """

    statistic: float
    p_value: float
    level: float
    shifted: bool
    source_rows: int
    target_rows: int


def shift_test(
    source: ArrayLike,
    target: ArrayLike,
    *,
    level: float = 0.05,
    permutations: int = 499,
    groups: tuple[ArrayLike, ArrayLike] | None = None,
    most: int = MOST_ROWS,
    seed: int = 0,
) -> ShiftTest:
    """Test whether the target's samples come from another distribution than the source's.

    The level holds for any number of samples and features, if samples are independent of one another. Frames of one
    recording are not: name the recordings as groups, which are then dealt out whole.

    Args:
        source: ``(n, d)`` latents of the source.
        target: ``(m, d)`` latents from here; n and m may differ.
        level: Chance of a false alarm, 0 to 1.
        permutations: How often samples are dealt out anew; with fewer than ``1 / level - 1`` no shift is ever found.
        groups: ``(n,)`` and ``(m,)`` group of each sample, whole numbers; a group is of one side, whatever its number.
        most: Samples of each side that are looked at, at least 2; more are drawn from.
        seed: Fixes the draws.

    Returns:
        The result. Where all samples are alike, nothing has shifted.

    Raises:
        InputError: If the level or a number is out of range, the permutations are too few for the level, or as
            `check_domains` and `check_labels`.
    """
    rows, others = check_domains(source, target)
    if not 0 < level < 1:
        raise InputError(f"expected a level between 0 and 1, found {level}.")
    if most < 2 or permutations < 1 or (permutations + 1) * level < 1 - 1e-9:
        raise InputError(
            f"expected at least 2 samples of a side and {int(np.ceil(1 / level - 1 - 1e-9))} permutations for a level "
            f"of {level}, found {most} and {permutations}."
        )
    sides = (
        np.arange(len(rows)) if groups is None else check_labels(groups[0], len(rows), "source group"),
        np.arange(len(others)) if groups is None else check_labels(groups[1], len(others), "target group"),
    )
    draw = np.random.default_rng(seed)
    rows, first = _drawn(rows, sides[0], most, draw)
    others, second = _drawn(others, sides[1], most, draw)
    pooled = np.concatenate([rows, others])
    bandwidth = median_bandwidth(pooled, pooled[:0], most=len(pooled))
    kernel = Gaussians(tuple(one * bandwidth for one in _MULTIPLES))(pooled, pooled)
    # A sample says nothing with itself, and is left out of every sum.
    np.fill_diagonal(kernel, 0.0)
    member, home = _groups(first, second)
    found = _statistics(kernel, home[None, member])[0]
    above = 0
    # Alike but for the order of a sum; without it a permutation that changes nothing would count by chance.
    least = found - 1e-9
    for start in range(0, permutations, _AT_A_TIME):
        count = min(_AT_A_TIME, permutations - start)
        dealt = draw.permuted(np.tile(home, (count, 1)), axis=1)
        above += int((_statistics(kernel, dealt[:, member]) >= least).sum())
    p_value = (1 + above) / (1 + permutations)
    return ShiftTest(float(found), p_value, level, p_value <= level + 1e-12, len(rows), len(others))


def _drawn(rows: Float64, groups: Int64, most: int, draw: np.random.Generator) -> tuple[Float64, Int64]:
    """Return at most so many rows with their groups."""
    if len(rows) <= most:
        return rows, groups
    kept = np.sort(draw.permutation(len(rows))[:most])
    return rows[kept], groups[kept]


def _groups(first: Int64, second: Int64) -> tuple[Int64, Float64]:
    """Number the groups of both sides.

    Returns:
        ``(N,)`` group of each sample, the source's samples first, and ``(g,)`` 1 for each group of the source, else 0.
    """
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    count = int(a.max()) + 1
    home = np.zeros(count + int(b.max()) + 1)
    home[:count] = 1
    return np.concatenate([a, b + count]).astype(np.int64), home


def _statistics(kernel: Float64, dealt: Float64) -> Float64:
    """Return the unbiased discrepancy for ways of dealing samples out.

    Args:
        kernel: ``(N, N)``, 0 on the diagonal.
        dealt: ``(p, N)``, 1 for a sample of the source, 0 for one of the target.

    Returns:
        ``(p,)``; where a side has fewer than two samples, as if the kernel within it were 0.
    """
    n = dealt.sum(axis=1)
    m = len(kernel) - n
    row = kernel.sum(axis=1)
    # One product of matrices gives the sums of all ways.
    within = np.einsum("pn,pn->p", dealt @ kernel, dealt)
    along = dealt @ row
    other = row.sum() - 2 * along + within
    result: Float64 = within / np.maximum(n * (n - 1), 1) + other / np.maximum(m * (m - 1), 1)
    result -= 2 * (along - within) / np.maximum(n * m, 1)
    return result
