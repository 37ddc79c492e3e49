"""The guard: a candidate replaces the current head only if held-out local samples do not speak against it."""

from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["accepted", "rejected", "insufficient"]
# Chance, at most, that a candidate no better than the current head is accepted as better, or rejected as harmful.
RISK = 0.1


@dataclass(frozen=True)
class Judgement:
    """What the guard says of a candidate.

    Args:
        verdict: ``"accepted"``, ``"rejected"`` or ``"insufficient"`` (evidence).
        reason: Why, in words.
        judged: Number of held-out samples that both heads were compared on.
        gained: Samples that only the candidate gets right.
        lost: Samples that only the current head gets right.
    """

    verdict: Verdict
    reason: str
    judged: int
    gained: int
    lost: int


def judge(
    y: NDArray[np.int64], candidate: NDArray[np.int64], current: NDArray[np.int64] | None, known: NDArray[np.bool_]
) -> Judgement:
    """Compare two heads on samples that neither was fitted on.

    The samples that both get right, or both wrong, say nothing; of the others, a sign test (McNemar's, exact) asks
    whether the candidate wins more than chance explains.

    Args:
        y: ``(n,)`` labels.
        candidate: ``(n,)`` the candidate's predictions without the sample; -1 where there is none.
        current: ``(n,)`` the current head's predictions without the sample, or None where there is no current head.
        known: ``(k,)`` which classes the current head knows. Samples of other classes are not compared: the candidate
            learns them anew and is judged only for harm to the known ones.

    Returns:
        The judgement.
    """
    if current is None:
        return Judgement("accepted", "There was no head before.", 0, 0, 0)
    compared = known[y] & (candidate >= 0)
    right, before = (candidate == y)[compared], (current == y)[compared]
    n, gained, lost = int(compared.sum()), int((right & ~before).sum()), int((before & ~right).sum())
    counts = f"Of {n} held-out samples the candidate gains {gained} and loses {lost}"
    if not known[y].all():
        if at_least(lost, gained + lost) <= RISK:
            return Judgement("rejected", f"{counts}: learning the new class harms the old ones.", n, gained, lost)
        return Judgement(
            "accepted", f"It knows a new class, and the old ones are not harmed. {counts}.", n, gained, lost
        )
    if at_least(gained, gained + lost) <= RISK:
        return Judgement("accepted", f"{counts}: more than chance explains.", n, gained, lost)
    if lost > gained:
        return Judgement("rejected", f"{counts}: it is not better.", n, gained, lost)
    return Judgement("insufficient", f"{counts}: chance explains that. More samples would tell.", n, gained, lost)


def at_least(wins: int, trials: int) -> float:
    """Return the probability of at least so many heads in so many tosses of a fair coin; 1 for no toss."""
    term, total = comb(trials, wins), 0
    for i in range(wins, trials + 1):
        total += term
        term = term * (trials - i) // (i + 1)
    return float(total / 2**trials)
