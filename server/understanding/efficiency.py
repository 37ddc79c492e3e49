"""Data efficiency: how many labels a model that was transferred needs, and how many one from scratch, for the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy against labels.

    Args:
        labels: Labelled samples in all, ascending.
        accuracy: For each of them the accuracy of every draw, 0 to 1, the draws in the same order throughout; or
            another score of which more is better, such as an error with a minus.
        seconds: For each the mean processor time of one fit, in seconds; empty where that was not measured.
    """

    labels: tuple[int, ...]
    accuracy: tuple[tuple[float, ...], ...]
    seconds: tuple[float, ...] = ()

    def of(self, draw: int) -> tuple[float, ...]:
        """Return the accuracies of one draw."""
        return tuple(values[draw] for values in self.accuracy)


@dataclass(frozen=True)
class Saving:
    """What transfer saves at one number of labels.

    Args:
        labels: Labels with transfer.
        accuracy: Mean accuracy with them.
        needed: Of each draw, the labels without transfer for what that draw reached with it; infinite where none of
            the labels at hand were enough.
        most: Most labels that were tried without transfer.
        least: Fewest, which may be more than were needed; 0 where that is not known.
    """

    labels: int
    accuracy: float
    needed: tuple[float, ...]
    most: int
    least: int = 0

    @property
    def typical(self) -> float:
        """The median of the draws, the lower one of two in the middle; infinite where most did not get there."""
        return sorted(self.needed)[(len(self.needed) - 1) // 2]

    @property
    def factor(self) -> float:
        """How many times as many labels are needed without transfer, by the median."""
        return self.typical / self.labels

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest factor of the draws."""
        return min(self.needed) / self.labels, max(self.needed) / self.labels

    def __str__(self) -> str:
        """Labels with and without, and the factor."""
        low, high = self.spread
        if math.isinf(self.typical):
            return f"{self.labels} labels do what {self.most} do not without transfer"
        ends = (
            f"{low:.1f} to {'more than ' * math.isinf(high)}{self.most / self.labels if math.isinf(high) else high:.1f}"
        )
        # Fewer than the fewest were not tried.
        bound = "at most " * (self.typical <= self.least)
        return (
            f"{self.labels} labels do what {bound}{self.typical:.0f} do without transfer: "
            f"{bound}{self.factor:.1f} times ({ends})"
        )


def labels_needed(labels: Sequence[float], accuracy: Sequence[float], level: float) -> float:
    """Return how many labels a curve needs for an accuracy.

    What more labels undid by chance counts as reached: the curve is the greatest accuracy so far. Between two points it
    is a line over the logarithm of the labels.

    Args:
        labels: Ascending, above 0.
        accuracy: With as many.
        level: The accuracy to reach.

    Returns:
        The labels: the least that was tried where that is enough, infinity where the most is not.

    Raises:
        InputError: If the curve is none.
    """
    x, y = np.asarray(labels, np.float64), np.asarray(accuracy, np.float64)
    if not len(x) or x.shape != y.shape or x[0] <= 0 or not (np.diff(x) > 0).all() or not np.isfinite(y).all():
        raise InputError(f"expected ascending labels above 0 with a finite accuracy each, found {labels}, {accuracy}.")
    best = np.maximum.accumulate(y)
    if best[-1] < level:
        return math.inf
    place = int(np.argmax(best >= level))
    if place == 0:
        return float(x[0])
    share = (level - best[place - 1]) / (best[place] - best[place - 1])
    return float(np.exp(np.log(x[place - 1]) + share * (np.log(x[place]) - np.log(x[place - 1]))))


def savings(transferred: LearningCurve, scratch: LearningCurve) -> tuple[Saving, ...]:
    """Return what transfer saves at each number of labels, draw by draw on the same samples.

    Args:
        transferred: The curve with transfer.
        scratch: That without, of the same draws.

    Raises:
        InputError: If the curves have other numbers of draws.
    """
    draws = {len(values) for curve in (transferred, scratch) for values in curve.accuracy}
    if len(draws) != 1 or 0 in draws:
        raise InputError(f"expected curves of as many draws at every number of labels, found {sorted(draws)}.")
    found = []
    for place, labels in enumerate(transferred.labels):
        reached = transferred.accuracy[place]
        needed = tuple(labels_needed(scratch.labels, scratch.of(i), level) for i, level in enumerate(reached))
        found.append(Saving(labels, float(np.mean(reached)), needed, scratch.labels[-1], scratch.labels[0]))
    return tuple(found)


def seconds_of(
    saving: Saving, transferred: LearningCurve, scratch: LearningCurve, per_label: float
) -> tuple[float, float]:
    """Return what labelling, looking and fitting take with transfer, and without for the same score.

    Args:
        saving: At one of the numbers of labels of the curve with transfer.
        transferred: The curve with transfer, with its seconds.
        scratch: That without.
        per_label: Seconds to label a sample and to look at it.
    """
    own = transferred.seconds[transferred.labels.index(saving.labels)]
    if math.isinf(saving.typical):
        return saving.labels * per_label + own, math.inf
    other = float(np.interp(saving.typical, scratch.labels, scratch.seconds))
    return saving.labels * per_label + own, saving.typical * per_label + other


def plain_saving(saving: Saving, score: tuple[str, float], seconds: tuple[float, float]) -> dict[str, Any]:
    """Return a saving as plain values for JSON.

    Args:
        saving: The saving.
        score: Name and value of what is reached.
        seconds: As of `seconds_of`.
    """
    return {
        "labels": saving.labels,
        score[0]: score[1],
        "needed": saving.typical,
        "factor": saving.factor,
        "factors": [needed / saving.labels for needed in saving.needed],
        "seconds": seconds[0],
        "seconds_without": seconds[1],
    }
