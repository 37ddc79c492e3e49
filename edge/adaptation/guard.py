"""The guard: a candidate replaces the current head only if held-out local samples do not speak against it.

What it cannot see: labels that are wrong in the same way everywhere, since held-out samples have them too (the source
probe may); a place that changes after the samples were taken; a loss in a class with fewer than four
samples, beyond what it costs the mean over the classes; and that it is asked again and again, each time at the same
risk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..distinct import distinct
from .evidence import weigh

Verdict = Literal["accepted", "rejected", "insufficient"]
# Chance, at most, that a candidate no better than the current head is accepted as better, or rejected as harmful.
RISK = 0.1
# A loss is held against a candidate from here on: one sample lost and none gained is as likely as not by chance.
DOUBT = 1 / 3
# A class whose recall falls to less than this share of what it was is lost, not merely harmed.
LOST = 0.5
# With a new class, a loss of the old ones that chance may explain is let pass up to here.
SMALL_LOSS = 0.05
# A new class of which none of so many held-out samples is recognised is not learnt.
ENOUGH = 4


@dataclass(frozen=True)
class ClassChange:
    """What a candidate changes for one class.

    Args:
        name: The class.
        samples: Held-out samples compared.
        before: Share that the current head gets right; NaN for a class that it does not know.
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


@dataclass(frozen=True)
class Judgement:
    """What the guard says of a candidate.

    Args:
        verdict: ``"accepted"``, ``"rejected"`` or ``"insufficient"`` (evidence).
        reason: Why, in words.
        judged: Number of held-out samples that both heads were compared on.
        gained: Samples that only the candidate gets right.
        lost: Samples that only the current head gets right.
        units: Pieces of evidence that the samples are: those of one class and one group are one.
        gain: Difference in accuracy in points, each class counting the same and each unit of a class; NaN for none.
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
) -> Judgement:
    """Compare two heads on samples that neither was fitted on.

    The gain is the difference of the class-balanced accuracies; a sign-flip test (see `evidence.weigh`) asks whether it
    is more than chance explains. Every class is asked besides whether it is harmed, at a risk divided by the number of
    classes; where more than half of a class's recall is lost, at the risk itself. A class that is now told from the
    others better than before is not harmed, whatever recall it loses: the head in use took too much for it.

    Args:
        y: ``(n,)`` labels.
        candidate: ``(n,)`` the candidate's predictions without the sample; -1 where there is none.
        current: ``(n,)`` the current head's predictions without the sample, or None where there is no current head.
        known: ``(k,)`` which classes the current head knows. Samples of other classes are not compared: the candidate
            learns them anew and is judged only for harm to the known ones, and for whether it knows them at all.
        groups: ``(n,)`` samples of one group are one unit of evidence for their class; None for each on its own.
        names: ``(k,)`` names of the classes, for the reason; by default their numbers.

    Returns:
        The judgement.
    """
    if current is None:
        return Judgement("accepted", "There was no head before.", 0, 0, 0)
    names = names or [str(label) for label in range(len(known))]
    held, right, before = candidate >= 0, candidate == y, current == y
    compared = held & known[y]
    changes = {int(c): _change(names[c], held & (y == c), right, before, known[c]) for c in distinct(y[held])}
    cells = _cells(y, right.astype(np.float64) - before, compared, groups)
    # A class counts as much as another, and a unit of it as much as another.
    share = 1 / np.bincount(cells.label, minlength=len(known))[cells.label]
    weight = np.bincount(cells.group, share).astype(np.float64)
    found = weigh(np.bincount(cells.group, share * cells.difference) / weight, weight, RISK)
    n, gained, lost = (
        int(compared.sum()),
        int((right & ~before)[compared].sum()),
        int((before & ~right)[compared].sum()),
    )
    told = f"Of {n} held-out samples the candidate gains {gained} and loses {lost}"
    if n:
        told += f", {100 * found.mean:+.1f} points class by class ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    apart = {int(c): _apart(y, candidate, compared, c) - _apart(y, current, compared, c) for c in distinct(cells.label)}
    harmed = _harmed(cells, changes, apart)
    new = [change for label, change in changes.items() if not known[label]]
    verdict: Verdict = "insufficient"
    if harmed is not None:
        verdict, reason = "rejected", f"It harms {harmed}. {told}."
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
    figures = (len(weight), 100 * found.mean, 100 * found.low, 100 * found.high)
    return Judgement(verdict, reason, n, gained, lost, *figures, tuple(changes.values()))


def at_least(wins: int, trials: int) -> float:
    """Return the probability of at least so many heads in so many tosses of a fair coin; 1 for no toss."""
    term, total = comb(trials, wins), 0
    for i in range(wins, trials + 1):
        total += term
        term = term * (trials - i) // (i + 1)
    return float(total / 2**trials)


@dataclass(frozen=True, eq=False)
class _Cells:
    """Mean differences of the samples of one class and one group.

    Args:
        label: ``(u,)`` class of each.
        group: ``(u,)`` group of each, 0 to their number - 1.
        difference: ``(u,)`` -1 to 1.
    """

    label: NDArray[np.int64]
    group: NDArray[np.int64]
    difference: NDArray[np.float64]


def _cells(
    y: NDArray[np.int64],
    difference: NDArray[np.float64],
    compared: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
) -> _Cells:
    own = np.arange(len(y)) if groups is None else groups
    pairs, place, size = np.unique(
        np.stack([own[compared], y[compared]]), axis=1, return_inverse=True, return_counts=True
    )
    total = np.bincount(place.reshape(-1), difference[compared], len(size))
    return _Cells(pairs[1], np.unique(pairs[0], return_inverse=True)[1].reshape(-1), total / size)


def _change(
    name: str, rows: NDArray[np.bool_], right: NDArray[np.bool_], before: NDArray[np.bool_], known: np.bool_
) -> ClassChange:
    return ClassChange(
        name,
        int(rows.sum()),
        float(before[rows].mean()) if known else float("nan"),
        float(right[rows].mean()),
        int((right & ~before)[rows].sum()),
        int((before & ~right)[rows].sum()),
    )


def _apart(y: NDArray[np.int64], predicted: NDArray[np.int64], compared: NDArray[np.bool_], label: np.int64) -> float:
    """Return how well a class is told from the others: its recall, less the share of them that is taken for it."""
    taken = predicted[compared] == label
    shares = [float(taken[y[compared] == other].mean()) for other in distinct(y[compared]) if other != label]
    return float(taken[y[compared] == label].mean()) - (sum(shares) / len(shares) if shares else 0.0)


def _harmed(cells: _Cells, changes: dict[int, ClassChange], apart: dict[int, float]) -> str | None:
    """Name the class that is harmed beyond doubt, the clearest first.

    A class that the current head takes nearly everything for loses recall under any better head: it is harmed only if
    it is told from the others less well too.
    """
    asked, worst, words = len(distinct(cells.label)), 1.0, None
    for label in distinct(cells.label[cells.difference < 0]):
        if apart[int(label)] >= 0:
            continue
        own, change = cells.difference[cells.label == label], changes[int(label)]
        lost, gained = int((own < 0).sum()), int((own > 0).sum())
        chance = at_least(lost, lost + gained)
        if chance <= (RISK if change.after < LOST * change.before else RISK / asked) and chance < worst:
            worst = chance
            words = (
                f"{change.name}: {change.before:.0%} of its {change.samples} samples were right, {change.after:.0%} are"
            )
    return words


def _unlearnt(new: list[ClassChange], old: NDArray[np.bool_]) -> bool:
    """Return whether every sample of a new class was held out and enough were, and the candidate knew none."""
    seen = sum(change.samples for change in new)
    return seen >= ENOUGH and seen == int((~old).sum()) and all(change.after == 0 for change in new)
