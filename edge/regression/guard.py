"""The guard for regression: a candidate must do better on held-out samples than the head in use, and than a constant.

The second condition is what labels that mean nothing fail: predicting their mean is better than any head that was
trained on others, and no head that looks at the samples does better than that. It also fails where the target hardly
varies; then a wider range of samples is asked for. Of several targets each must meet it, and the error of none may
rise by more than a quarter, however much is gained on the others. What it cannot see: labels that are wrong in the same
way everywhere, such as a scale that is off.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..adaptation.evidence import Evidence, weigh
from ..heads.problem import Float64

Verdict = Literal["accepted", "rejected", "insufficient"]
# Chance, at most, that a candidate no better than the current head is accepted as better.
RISK = 0.1
# Of so many units of evidence a head shows that it explains anything, or it does not.
ENOUGH = 20
# A rise of the error that chance may explain is left for `on_insufficient` to decide up to here.
SMALL_LOSS = 0.05
# What fits several targets at once fits each a little less well: the error of one may rise so far where others gain.
SMALL_HARM = 0.25


@record()
class RegressionJudgement:
    """What the guard says of a candidate.

    Args:
        verdict: ``"accepted"``, ``"rejected"`` or ``"insufficient"`` (evidence).
        reason: Why, in words.
        judged: Number of held-out samples.
        units: Pieces of evidence that they are: those of one group are one.
        better: Probability of such a gain over the head in use, or a greater one, by chance alone; NaN without one.
        explains: Probability of such a gain over the mean of the samples; the greatest of all targets.
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
    names: Sequence[str] = (),
) -> RegressionJudgement:
    """Compare heads on samples that neither was fitted on.

    The squared errors of each unit, in units of the targets' variances, are compared by a sign-flip test
    (`evidence.weigh`): with the head in use, the mean over the targets. Each target is asked besides whether it is
    harmed, its error risen by more than a quarter, at a risk divided by their number, or at the risk itself where the
    error doubles; and each that gains must be predicted better than by the mean of its labels.

    Args:
        y: ``(n, t)`` targets.
        candidate: ``(n, t)`` the candidate's predictions without the sample's unit.
        current: Those of the head in use, or None.
        units: ``(n,)`` numbers 0, 1, ... of the units.
        scale: ``(t,)`` what squared errors are divided by.
        weight: ``(n,)`` how much each sample counts, above 0; None for all alike.
        names: ``(t,)`` names of the targets, for the reason; by default their numbers.

    Returns:
        The judgement.
    """
    n, count = len(y), int(units.max()) + 1
    weight = np.ones(n) if weight is None else weight
    names = names or [str(target) for target in range(y.shape[1])]
    after = (candidate - y) ** 2 / scale
    # The best constant for these very samples, which a head that did not see them hardly beats by chance.
    mean = (np.average(y, 0, weight) - y) ** 2 / scale
    found = [_compare(mean[:, t], after[:, t], units, weight) for t in range(y.shape[1])]
    before = None if current is None else (current - y) ** 2 / scale
    asked = _moved(before, after, units, weight)
    weakest = max(asked, key=lambda t: (found[t].better, -found[t].mean))
    explains, of = found[weakest], f" of {names[weakest]}" if len(found) > 1 else ""
    better, change, harm = None, 0.0, None
    told = f"On {n} held-out samples in {count} units"
    if before is not None:
        better = _compare(before.mean(axis=1), after.mean(axis=1), units, weight)
        change = _rise(before.mean(axis=1), after.mean(axis=1), weight)
        told += f" its root mean squared error {_words(change)}"
        harm = None if len(found) == 1 else _harmed(before, after, units, weight, names)
    verdict: Verdict = "insufficient"
    if harm is not None:
        verdict, reason = "rejected", f"It harms {harm}. {told}."
    elif better is not None and (better.worse <= RISK or change > SMALL_LOSS):
        verdict, reason = "rejected", f"{told}: it is not better."
    elif explains.better > RISK and (explains.mean <= 0 or count >= ENOUGH):
        verdict = "rejected"
        reason = (
            f"{told}, and it predicts the labels{of} no better than their mean does: they do not follow from the "
            f"samples. Check the labels{of}, or take samples over a wider range."
        )
    elif explains.better > RISK:
        reason = (
            f"{told}, and chance explains by how much it predicts the labels{of} better than their mean does. More "
            f"samples would tell."
        )
    elif better is None:
        verdict, reason = "accepted", f"There was no head before. {told} it is better than their mean."
    elif better.better <= RISK:
        verdict, reason = "accepted", f"{told}: more than chance explains."
    else:
        reason = f"{told}: chance explains that. More samples would tell."
    return RegressionJudgement(
        verdict, reason, n, count, float("nan") if better is None else better.better, explains.better
    )


def _moved(before: Float64 | None, after: Float64, units: NDArray[np.int64], weight: Float64) -> list[int]:
    """Return the targets that must be explained: all of them, or those that gain where only some do.

    A target that hardly follows from the samples, and is left as it was, does not stand in the way of others. Labels
    that mean nothing are different: there a constant gains over any head.
    """
    every = list(range(after.shape[1]))
    if before is None:
        return every
    gained = [t for t in every if _compare(before[:, t], after[:, t], units, weight).better <= RISK]
    return gained or every


def _harmed(
    before: Float64, after: Float64, units: NDArray[np.int64], weight: Float64, names: Sequence[str]
) -> str | None:
    """Name the target whose error rises beyond doubt, the clearest first; errors are ``(n, t)``."""
    worst, words = 1.0, None
    for target, name in enumerate(names):
        rise = _rise(before[:, target], after[:, target], weight)
        chance = _compare(before[:, target], after[:, target], units, weight).worse
        if rise > SMALL_HARM and chance <= (RISK if rise >= 1 else RISK / len(names)) and chance < worst:
            worst, words = chance, f"{name}: its root mean squared error {_words(rise)}"
    return words


def _rise(before: Float64, after: Float64, weight: Float64) -> float:
    """Return by what share the root mean squared error rises."""
    first, last = float(np.average(before, weights=weight)), float(np.average(after, weights=weight))
    return float(np.sqrt(last / max(first, 1e-300)) - 1)


def _words(rise: float) -> str:
    return f"rises by {rise:.0%}" if rise > 0 else f"falls by {-rise:.0%}"


def _compare(worse: Float64, better: Float64, units: NDArray[np.int64], weight: Float64) -> Evidence:
    whole = np.bincount(units, weight)
    difference = np.bincount(units, weight * (worse - better)) / whole
    greatest = max(float(np.abs(difference).max()), 1e-300)
    # A unit counts as much as another, whatever its size, and by the mean weight of its samples.
    return weigh(difference / greatest, whole / np.bincount(units), RISK)
