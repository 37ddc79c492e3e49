"""The guard for regression: a candidate must do better on held-out samples than the head in use, and than a constant.

The second condition is what labels that mean nothing fail: predicting their mean is better than any head that was
trained on others, and no head that looks at the samples does better than that. It also fails where the target hardly
varies; then a wider range of samples is asked for. What it cannot see: labels that are wrong in the same way
everywhere, such as a scale that is off.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..adaptation.evidence import Evidence, weigh
from ..heads.problem import Float64

Verdict = Literal["accepted", "rejected", "insufficient"]
# Chance, at most, that a candidate no better than the current head is accepted as better.
RISK = 0.1
# Of so many units of evidence a head shows that it explains anything, or it does not.
ENOUGH = 20
# A rise of the error that chance may explain is left for `on_insufficient` to decide up to here.
SMALL_LOSS = 0.05


@dataclass(frozen=True)
class RegressionJudgement:
    """What the guard says of a candidate.

    Args:
        verdict: ``"accepted"``, ``"rejected"`` or ``"insufficient"`` (evidence).
        reason: Why, in words.
        judged: Number of held-out samples.
        units: Pieces of evidence that they are: those of one group are one.
        better: Probability of such a gain over the head in use, or a greater one, by chance alone; NaN without one.
        explains: Probability of such a gain over the mean of the samples.
    """

    verdict: Verdict
    reason: str
    judged: int
    units: int
    better: float
    explains: float


def judge(
    y: Float64,
    candidate: Float64,
    current: Float64 | None,
    units: NDArray[np.int64],
    scale: Float64,
    weight: Float64 | None = None,
) -> RegressionJudgement:
    """Compare heads on samples that neither was fitted on.

    The squared errors of each unit, in units of the targets' variances, are compared by a sign-flip test
    (`evidence.weigh`).

    Args:
        y: ``(n, t)`` targets.
        candidate: ``(n, t)`` the candidate's predictions without the sample's unit.
        current: Those of the head in use, or None.
        units: ``(n,)`` numbers 0, 1, ... of the units.
        scale: ``(t,)`` what squared errors are divided by.
        weight: ``(n,)`` how much each sample counts, above 0; None for all alike.

    Returns:
        The judgement.
    """
    n, count = len(y), int(units.max()) + 1
    weight = np.ones(n) if weight is None else weight
    after = ((candidate - y) ** 2 / scale).mean(axis=1)
    # The best constant for these very samples, which a head that did not see them hardly beats by chance.
    mean = ((np.average(y, 0, weight) - y) ** 2 / scale).mean(axis=1)
    explains = _compare(mean, after, units, weight)
    if current is None:
        better, change = None, 0.0
        told = f"On {n} held-out samples in {count} units"
    else:
        before = ((current - y) ** 2 / scale).mean(axis=1)
        better = _compare(before, after, units, weight)
        change = float(
            np.sqrt(np.average(after, weights=weight) / max(float(np.average(before, weights=weight)), 1e-300)) - 1
        )
        told = f"On {n} held-out samples in {count} units its root mean squared error is {change:+.0%}"
    verdict: Verdict = "insufficient"
    if better is not None and (better.worse <= RISK or change > SMALL_LOSS):
        verdict, reason = "rejected", f"{told}: it is not better."
    elif explains.better > RISK and (explains.mean <= 0 or count >= ENOUGH):
        verdict = "rejected"
        reason = (
            f"{told}, and it predicts no better than their mean: the labels do not follow from the samples. Check "
            f"the labels, or take samples over a wider range."
        )
    elif explains.better > RISK:
        reason = f"{told}, and chance explains what it predicts better than their mean. More samples would tell."
    elif better is None:
        verdict, reason = "accepted", f"There was no head before. {told} it is better than their mean."
    elif better.better <= RISK:
        verdict, reason = "accepted", f"{told}: more than chance explains."
    else:
        reason = f"{told}: chance explains that. More samples would tell."
    return RegressionJudgement(
        verdict, reason, n, count, float("nan") if better is None else better.better, explains.better
    )


def _compare(worse: Float64, better: Float64, units: NDArray[np.int64], weight: Float64) -> Evidence:
    whole = np.bincount(units, weight)
    difference = np.bincount(units, weight * (worse - better)) / whole
    greatest = max(float(np.abs(difference).max()), 1e-300)
    # A unit counts as much as another, whatever its size, and by the mean weight of its samples.
    return weigh(difference / greatest, whole / np.bincount(units), RISK)
