"""What an adapted regressor gains and loses against the one it came from, on the same held-out samples.

Errors are compared sample by sample. Intervals are those of the Bayesian bootstrap (Rubin 1981, "The Bayesian
Bootstrap"): the share that each sample stands for is drawn, for both models at once, and each figure is computed of
every draw. Of few samples these are too narrow, as every bootstrap is: their quantiles are moved out as far as
Student's distribution asks (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"), and below eight samples
there are none.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .gains import Change, known

Float64 = NDArray[np.float64]
# Fewer samples have no interval.
_LEAST = 8
# Numbers that are drawn at once.
_AT_ONCE = 2**21


@dataclass(frozen=True)
class PartGain:
    """What changed for a part of the samples: a range of the truth, or a group.

    Args:
        name: The part.
        samples: Held-out samples in it.
        nearer: Of these, how many the model after predicts more nearly.
        farther: How many it predicts less nearly.
        mae: Mean absolute error, in the target's unit.
    """

    name: str
    samples: int
    nearer: int
    farther: int
    mae: Change


@dataclass(frozen=True)
class TargetGain:
    """What changed for one target. For errors, a difference below 0 is a gain.

    Args:
        name: The target.
        nearer: Samples that the model after predicts more nearly.
        farther: Samples that it predicts less nearly.
        mae: Mean absolute error, in the target's unit.
        rmse: Root mean squared error, likewise.
        r2: Share of the variance that is explained; not known where the truth never changes.
        ranges: By ranges of the truth that hold about as many samples each, from its least to its greatest.
        groups: Of each group, in the order of their names; empty where they are not known.
    """

    name: str
    nearer: int
    farther: int
    mae: Change
    rmse: Change
    r2: Change
    ranges: tuple[PartGain, ...]
    groups: tuple[PartGain, ...] = ()


@dataclass(frozen=True)
class ErrorGains:
    """What changed, target by target.

    Args:
        samples: Held-out samples.
        targets: Of each target.
    """

    samples: int
    targets: tuple[TargetGain, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not known becomes None."""
        plain: dict[str, Any] = known(asdict(self))
        return plain


def compare_values(
    truth: NDArray[np.floating],
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    *,
    names: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    ranges: int = 4,
    draws: int = 2_000,
    seed: int = 0,
) -> ErrorGains:
    """Compare what two regressors predict for the same samples, which neither was fitted on.

    Args:
        truth: ``(n,)`` or ``(n, t)`` values.
        before: Likewise, predictions of the model before.
        after: Likewise, of the model after.
        names: ``t`` names of the targets; by default their numbers.
        groups: ``n`` groups; None without.
        ranges: Quantile ranges of each target's truth; ties make them fewer.
        draws: Draws for the intervals, at least 100.
        seed: Fixes them.

    Returns:
        The changes. Samples are taken for independent: of frames of one burst the intervals are too narrow.

    Raises:
        InputError: If shapes differ, there are no samples, or a value is not finite.
    """
    y, one, two = (_columns(values) for values in (truth, before, after))
    if not y.size or not y.shape == one.shape == two.shape or draws < 100 or ranges < 1:
        raise InputError(
            f"expected as many values as predictions before and after, at least one, 1 range or more and 100 draws or "
            f"more, found {y.shape}, {one.shape}, {two.shape}, {ranges} and {draws}."
        )
    told = tuple(names) or tuple(str(i) for i in range(y.shape[1]))
    if len(told) != y.shape[1] or (groups is not None and len(groups) != len(y)):
        raise InputError(
            f"expected a name for each of {y.shape[1]} targets and a group for each of {len(y)} samples, found "
            f"{len(told)} and {None if groups is None else len(groups)}."
        )
    of = None if groups is None else np.array([str(group) for group in groups])
    lot = np.random.default_rng(seed)
    parts = (_of_target(told[i], y[:, i], one[:, i], two[:, i], of, ranges, draws, lot) for i in range(y.shape[1]))
    return ErrorGains(len(y), tuple(parts))


def _columns(values: NDArray[np.floating]) -> Float64:
    found = np.asarray(values, np.float64)
    found = found[:, np.newaxis] if found.ndim == 1 else found
    if found.ndim != 2 or not np.isfinite(found).all():
        raise InputError(
            f"expected finite values (n,) or (n, t), found shape {found.shape}, or NaN or infinity among them."
        )
    return found


def _of_target(
    name: str,
    y: Float64,
    one: Float64,
    two: Float64,
    groups: NDArray[np.str_] | None,
    ranges: int,
    draws: int,
    lot: np.random.Generator,
) -> TargetGain:
    away = y - y.mean()
    errors = np.stack([np.abs(one - y), np.abs(two - y)], axis=1)
    of_sample = np.column_stack([errors, errors**2, away, away**2])
    drawn = _means(of_sample, draws, lot)
    figures = _figures(of_sample.mean(axis=0)[np.newaxis])
    mae, rmse, r2 = (
        _change(float(a[0]), float(b[0]), later - former, len(y))
        for (a, b), (former, later) in zip(figures, _figures(drawn), strict=True)
    )
    edges = np.unique(np.quantile(y, np.linspace(0, 1, ranges + 1)))
    place = np.searchsorted(edges[1:-1], y, side="right")
    ends = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)] or [f"{edges[0]:.4g}"]
    by_range = [_part(end, errors[place == i], draws, lot) for i, end in enumerate(ends) if (place == i).any()]
    by_group = [] if groups is None else [_part(str(g), errors[groups == g], draws, lot) for g in np.unique(groups)]
    nearer, farther = _counts(errors)
    return TargetGain(name, nearer, farther, mae, rmse, r2, tuple(by_range), tuple(by_group))


def _part(name: str, errors: Float64, draws: int, lot: np.random.Generator) -> PartGain:
    drawn, mean = _means(errors, draws, lot), errors.mean(axis=0)
    change = _change(float(mean[0]), float(mean[1]), drawn[:, 1] - drawn[:, 0], len(errors))
    return PartGain(name, len(errors), *_counts(errors), change)


def _counts(errors: Float64) -> tuple[int, int]:
    return int((errors[:, 1] < errors[:, 0]).sum()), int((errors[:, 1] > errors[:, 0]).sum())


def _means(values: Float64, draws: int, lot: np.random.Generator) -> Float64:
    """Return ``(draws, c)`` means of ``(n, c)`` values under drawn shares of the samples."""
    n, found = len(values), []
    step = max(1, _AT_ONCE // n)
    for start in range(0, draws, step):
        shares = lot.standard_exponential((min(step, draws - start), n))
        found.append(shares @ values / shares.sum(axis=1, keepdims=True))
    return np.concatenate(found)


def _figures(means: Float64) -> tuple[tuple[Float64, Float64], ...]:
    """Return MAE, RMSE and R2, each before and after, of the means of what `_of_target` says of each sample."""
    square, spread = means[:, 2:4], means[:, 5] - means[:, 4] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread[:, np.newaxis] > 0, 1 - square / spread[:, np.newaxis], math.nan)
    return (means[:, 0], means[:, 1]), (np.sqrt(square[:, 0]), np.sqrt(square[:, 1])), (r2[:, 0], r2[:, 1])


def _change(before: float, after: float, drawn: Float64, n: int) -> Change:
    if math.isnan(before) or math.isnan(after) or n < _LEAST:
        return Change(before, after, math.nan, math.nan)
    tail = tail_of(n)
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Change(before, after, float(low), float(high))


def tail_of(n: int) -> float:
    """Return the quantile of the draws at which the 95 % interval of ``n`` samples ends.

    Args:
        n: Samples, at least eight.

    Returns:
        Below 0.025, and near it for many samples. Student's quantile is that of the normal distribution with the first
        two terms in ``1 / (n - 1)`` (Abramowitz and Stegun 1964, 26.7.5).
    """
    z, v = 1.959963984540054, n - 1
    student = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    # The variance of the drawn means is the squared deviations by n (n + 1), and that of a mean's by n (n - 1).
    return math.erfc(math.sqrt((n + 1) / (n - 1)) * student / math.sqrt(2)) / 2
