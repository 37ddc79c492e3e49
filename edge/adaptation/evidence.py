"""What paired comparisons show: a sign-flip test over units of evidence, and the interval that it implies."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from ...record import record

Float64 = NDArray[np.float64]
# Up to so many units that differ, every combination of signs is tried; above, as many are drawn.
EXHAUSTIVE, DRAWS = 12, 4_096
# More units than these are added up to as many.
MOST = 1_024
_ROWS = 256
# Sums of the same terms in another order differ by less.
_ROUNDING = 1e-12


@record()
class Evidence:
    """How a weighted mean of paired differences compares with chance.

    Args:
        mean: The mean.
        low: Its lower bound; above 0 exactly where `better` is at most the risk.
        high: Its upper bound; below 0 exactly where `worse` is at most the risk.
        better: Probability of such a mean or a greater one if either sign were as likely for each unit.
        worse: Probability of such a mean or a smaller one.
    """

    mean: float
    low: float
    high: float
    better: float
    worse: float


def weigh(difference: Float64, weight: Float64, risk: float, seed: int = 0) -> Evidence:
    """Test whether a weighted mean of differences is more than chance explains, and bound it.

    If neither side is better, the difference of each unit is as likely to have the opposite sign, whatever its size:
    the share of sign combinations with as great a sum is an exact p-value for any number of units (Fisher 1935, "The
    Design of Experiments", chapter 3). Of equal weights and differences of -1, 0 and 1 it is McNemar's exact test. A
    mean m is inside the interval if the test does not tell the data, less m, from chance; flipping a set of units asks
    whether the mean of the set is above m, so that the bounds are quantiles of the means of random subsets (Hartigan
    1969, "Using Subsample Values as Typical Values").

    Args:
        difference: ``(u,)`` difference of each unit of evidence, -1 to 1.
        weight: ``(u,)`` weights, above 0; only their ratios count.
        risk: Probability of error of each bound.
        seed: Draws the signs where there are too many units to try all.

    Returns:
        The evidence; without units, nothing is known: a mean of NaN between -1 and 1.
    """
    if not len(difference):
        return Evidence(float("nan"), -1.0, 1.0, 1.0, 1.0)
    share = weight / weight.sum()
    part = share * difference
    if len(share) > MOST:
        # Sums of several units are units too.
        part, share = (np.bincount(np.arange(len(share)) % MOST, terms) for terms in (part, share))
    means = _means(part, share, seed)
    means = np.where(np.abs(means) < _ROUNDING, 0, means)
    nothing = np.isnan(means)
    rising = np.sort(np.where(nothing, -np.inf, means))
    falling = np.sort(np.where(nothing, np.inf, means))[::-1]
    place = int(risk * len(means))
    low, high = max(float(rising[place]), -1.0), min(float(falling[place]), 1.0)
    # Where nothing was lost (or gained) so far, the next samples may: the rule of three, for the number of equal units
    # that the weights are worth.
    unseen = 1 - risk ** float((share**2).sum())
    low = low if low > 0 or (difference < 0).any() else min(low, -unseen)
    high = high if high < 0 or (difference > 0).any() else max(high, unseen)
    return Evidence(
        float(part.sum()), low, high, better=float(np.mean(rising <= 0)), worse=float(np.mean(falling >= 0))
    )


def at_least(wins: int, trials: int) -> float:
    """Return the probability of at least so many heads in so many tosses of a fair coin; 1 for no toss."""
    term, total = comb(trials, wins), 0
    for i in range(wins, trials + 1):
        total += term
        term = term * (trials - i) // (i + 1)
    return float(total / 2**trials)


def _means(part: Float64, share: Float64, seed: int) -> Float64:
    """Return the mean of each of 4,096 subsets, NaN for the empty one: of few units that differ, every subset."""
    rng, units = np.random.default_rng(seed), len(part)
    places = np.flatnonzero(part)
    means = np.empty(DRAWS)
    for start in range(0, DRAWS, _ROWS):
        rows = np.arange(start, start + _ROWS)[:, None]
        subset = np.unpackbits(rng.integers(0, 256, (_ROWS, -(-units // 8)), np.uint8), axis=1, count=units)
        if len(places) <= EXHAUSTIVE:
            subset[:, places] = rows >> np.arange(len(places)) & 1
        if not start:
            # What was seen is one of the combinations: no sign flipped.
            subset[0] = 0
        chosen = subset.astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + _ROWS] = (chosen @ part) / (chosen @ share)
    return means
