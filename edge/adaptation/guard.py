"""The guard: a candidate replaces the current head only if held-out local samples do not speak against it.

What it cannot see: labels that are wrong in the same way everywhere, since held-out samples have them too (the source
probe may); a place that changes after the samples were taken; a loss in a class with fewer than four
samples, beyond what it costs the mean over the classes; and that it is asked again and again, each time at the same
risk.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..distinct import distinct
from .evidence import weigh
from .harm import apart, cells_of, harmed, mean_of

Verdict = Literal["accepted", "rejected", "insufficient"]
# Chance, at most, that a candidate no better than the current head is accepted as better, or rejected as harmful.
RISK = 0.1
# A loss is held against a candidate from here on: one sample lost and none gained is as likely as not by chance.
DOUBT = 1 / 3
# With a new class, a loss of the old ones that chance may explain is let pass up to here.
SMALL_LOSS = 0.05
# A new class of which none of so many held-out samples is recognised is not learnt.
ENOUGH = 4
_LEAST = 1e-12
Float64 = NDArray[np.float64]


@record()
class ClassChange:
    """What a candidate changes for one class.

    Args:
        name: The class.
        samples: Held-out samples compared.
        before: Share that the current head gets right, by the weights given; NaN for a class that it does not know.
        after: Share that the candidate gets right.
        gained: Samples that only the candidate gets right.
        lost: Samples that only the current head gets right.
    """

    name: str
    samples: int
    before: float
    after: float
    gained: int
    lost: int


@record()
class Judgement:
    """What the guard says of a candidate.

    Args:
        verdict: ``"accepted"``, ``"rejected"`` or ``"insufficient"`` (evidence).
        reason: Why, in words.
        judged: Number of held-out samples that both heads were compared on.
        gained: Samples that only the candidate gets right.
        lost: Samples that only the current head gets right.
        units: Pieces of evidence that the samples are: those of one class and one group are one.
        gain: Difference in accuracy in points, each class counting the same and each unit of a class, but for the
            weights given; NaN for none.
        low: Lower bound of the gain, wrong once in ten times.
        high: Upper bound of the gain, wrong once in ten times.
        classes: Every class that has held-out samples.
    """

    verdict: Verdict
    reason: str
    judged: int
    gained: int
    lost: int
    units: int = 0
    gain: float = float("nan")
    low: float = -100.0
    high: float = 100.0
    classes: tuple[ClassChange, ...] = ()


def judge(
    y: NDArray[np.int64],
    candidate: NDArray[np.int64],
    current: NDArray[np.int64] | None,
    known: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    names: Sequence[str] = (),
    weight: Float64 | None = None,
) -> Judgement:
    """Compare two heads on samples that neither was fitted on.

    The gain is the difference of the class-balanced accuracies; a sign-flip test (see `evidence.weigh`) asks whether it
    is more than chance explains. Every class is asked besides whether it is harmed, at a risk divided among the
    classes; where more than half of a class's recall is lost, at the risk itself. A class that is now told from the
    others better than before is not harmed, whatever recall it loses: the head in use took too much for it.

    Weights say which mistakes matter. As in fitting, a class counts by the mean of its samples' weights, and by these
    the risk is divided too, alike without any: beside a class that counts a hundred times as much, harm to another is
    hardly tested, since it hardly matters. Since signs of weighted differences are flipped, the tests hold for any
    weights: a few samples of large weight are few pieces of evidence.

    Args:
        y: ``(n,)`` labels.
        candidate: ``(n,)`` the candidate's predictions without the sample; -1 where there is none.
        current: ``(n,)`` the current head's predictions without the sample, or None where there is no current head.
        known: ``(k,)`` which classes the current head knows. Samples of other classes are not compared: the candidate
            learns them anew and is judged only for harm to the known ones, and for whether it knows them at all.
        groups: ``(n,)`` samples of one group are one unit of evidence for their class; None for each on its own.
        names: ``(k,)`` names of the classes, for the reason; by default their numbers.
        weight: ``(n,)`` weights of the samples, above 0; None for equal ones.

    Returns:
        The judgement.
    """
    if current is None:
        return Judgement("accepted", "There was no head before.", 0, 0, 0)
    names = names or [str(label) for label in range(len(known))]
    held, right, before = candidate >= 0, candidate == y, current == y
    compared = held & known[y]
    # What weighs next to nothing must not vanish in a division.
    weighed = np.ones(len(y)) if weight is None else np.maximum(weight / weight.max(), _LEAST)
    changes = {int(c): _change(names[c], held & (y == c), right, before, known[c], weighed) for c in distinct(y[held])}
    cells = cells_of(y, right.astype(np.float64) - before, compared, groups, weighed)
    # But for their weights, a class counts as much as another, and a unit of it as much as another.
    share = cells.weight / np.bincount(cells.label, minlength=len(known))[cells.label]
    total = np.bincount(cells.group, share).astype(np.float64)
    found = weigh(np.bincount(cells.group, share * cells.difference) / total, total, RISK)
    n, gained, lost = (
        int(compared.sum()),
        int((right & ~before)[compared].sum()),
        int((before & ~right)[compared].sum()),
    )
    told = f"Of {n} held-out samples the candidate gains {gained} and loses {lost}"
    if n:
        how = "class by class" if weight is None else "by the weights given"
        told += f", {100 * found.mean:+.1f} points {how} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    better_told = {
        int(c): apart(y, candidate, compared, c, weighed) - apart(y, current, compared, c, weighed)
        for c in distinct(cells.label)
    }
    harm = harmed(cells, changes, better_told, RISK)
    new = [change for label, change in changes.items() if not known[label]]
    verdict: Verdict = "insufficient"
    if harm is not None:
        verdict, reason = "rejected", f"It harms {harm}. {told}."
    elif not known[y].all() and found.worse <= RISK:
        verdict, reason = "rejected", f"{told}: learning the new class harms the old ones."
    elif not known[y].all() and not _unlearnt(new, known[y]) and not found.mean < -SMALL_LOSS:
        verdict, reason = "accepted", f"It knows a new class, and the old ones are not harmed. {told}."
    elif found.better <= RISK:
        verdict, reason = "accepted", f"{told}: more than chance explains."
    elif found.mean < 0 and found.worse <= DOUBT and known[y].all():
        verdict, reason = "rejected", f"{told}: it is not better."
    else:
        reason = f"{told}: chance explains that. More samples would tell."
    figures = (len(total), 100 * found.mean, 100 * found.low, 100 * found.high)
    return Judgement(verdict, reason, n, gained, lost, *figures, tuple(changes.values()))


def _change(
    name: str,
    rows: NDArray[np.bool_],
    right: NDArray[np.bool_],
    before: NDArray[np.bool_],
    known: np.bool_,
    weight: Float64,
) -> ClassChange:
    return ClassChange(
        name,
        int(rows.sum()),
        mean_of(before[rows], weight[rows]) if known else float("nan"),
        mean_of(right[rows], weight[rows]),
        int((right & ~before)[rows].sum()),
        int((before & ~right)[rows].sum()),
    )


def _unlearnt(new: list[ClassChange], old: NDArray[np.bool_]) -> bool:
    """Return whether every sample of a new class was held out and enough were, and the candidate knew none."""
    seen = sum(change.samples for change in new)
    return seen >= ENOUGH and seen == int((~old).sum()) and all(change.after == 0 for change in new)
