"""Whether transfer is worth its risk against the target's samples alone, with the search over methods paid for.

Transfer is recommended where all of this holds:

1. The source's classifier says something about the target's labels. It has seen none of them, so that dealing them out
   anew is an exact test (Fisher 1935). A source whose labels are noise passes as often as `RELATED` says, whatever else
   its features help.
2. The method that would have been chosen without a fold is compared on that fold with the target's samples alone, by
   Brier scores and a sign-flip test over groups. The choice never sees what it is judged on (Varma and Simon 2006,
   "Bias in error estimation when using cross-validation for model selection"). Either it is better beyond chance, and
   gains accuracy. Or the source's classifier by itself is about as accurate as the target's samples alone, which says
   that both are one task; then it is enough that a gain is expected, and a loss of more than `MARGIN` excluded: with
   few labels no test shows a small gain.

The margins were chosen on Gaussian worlds and three tables, on none of the pairs of `benchmarks/advise.py`.
"""

from dataclasses import dataclass

import numpy as np

from ...edge.adaptation.evidence import Evidence, weigh
from .held_out import HeldOut, brier
from .method import POOL, SOURCE_ONLY, TARGET_ONLY
from .pair import Float64, Int64

LEVEL, RELATED = 0.05, 0.01
# Of the Brier score, and of accuracy.
MARGIN, ABOUT = 0.07, 0.1
_DEALS = 1_999


@dataclass(frozen=True)
class Verdict:
    """What the labelled samples say.

    Args:
        chosen: The method of the least held-out Brier score among those that transfer.
        transfer: Whether it is recommended.
        related: p-value of the first test.
        gain: Of the second: how much lower the Brier score is, with its bounds and p-values.
        accuracy_gain: Share of right answers gained by choosing so, held out.
        plain: How much lower than the target's alone the Brier score of both sides pooled is: whether to transfer
            without care is harmful.
        stands: Whether the source's classifier is about as accurate as the target's samples alone, or more.
    """

    chosen: str
    transfer: bool
    related: float
    gain: Evidence
    accuracy_gain: float
    plain: Evidence
    stands: bool


def judge(held: HeldOut, *, level: float = LEVEL, seed: int = 0) -> Verdict:
    """Choose among methods, and test the choice.

    Args:
        held: Answers; those of the target alone, the source alone and the pool are among them.
        level: Chance of error of the bound on the gain.
        seed: Draws signs, and deals labels out.
    """
    names = [name for name in held.probabilities if name != TARGET_ONLY]
    loss = np.stack([brier(held.probabilities[name], held.y) for name in names])
    right = np.stack([held.probabilities[name].argmax(axis=1) == held.y for name in names])
    alone = brier(held.probabilities[TARGET_ONLY], held.y)
    correct = held.probabilities[TARGET_ONLY].argmax(axis=1) == held.y
    difference, won = np.zeros(len(held.y)), np.zeros(len(held.y))
    for one in np.unique(held.fold):
        there = held.fold == one
        best = int(loss[:, ~there].mean(axis=1).argmin()) if (~there).any() else 0
        difference[there] = alone[there] - loss[best, there]
        won[there] = right[best, there].astype(float) - correct[there]
    per_group, weight = by_group(difference, held.group)
    gain = weigh(per_group, weight, level, seed)
    related = relation(held.probabilities[SOURCE_ONLY], held.y, held.group, seed)
    plain = weigh(*by_group(alone - brier(held.probabilities[POOL], held.y), held.group), level, seed)
    stands = bool(right[names.index(SOURCE_ONLY)].mean() >= correct.mean() - ABOUT)
    chosen, accuracy_gain = names[int(loss.mean(axis=1).argmin())], float(won.mean())
    transfer = related <= RELATED and decide(gain.mean, gain.low, accuracy_gain, stands=stands)
    return Verdict(chosen, transfer, related, gain, accuracy_gain, plain, stands)


def decide(gain: float, low: float, accuracy_gain: float, *, stands: bool) -> bool:
    """Return whether a gain is shown, or is expected and harm excluded where the source's classifier stands by itself.

    Args:
        gain: Mean gain of Brier score.
        low: Its lower bound.
        accuracy_gain: Share of right answers gained.
        stands: Whether the source's classifier is about as accurate as the target's samples alone.
    """
    return (low > 0 and accuracy_gain > 0) or (stands and gain > 0 and low >= -MARGIN and accuracy_gain >= -ABOUT)


def by_group(values: Float64, group: Int64) -> tuple[Float64, Float64]:
    """Return the mean of each group's values and how many they are."""
    _, place = np.unique(group, return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    return np.bincount(place, values) / count, count


def relation(probabilities: Float64, y: Int64, group: Int64, seed: int = 0) -> float:
    """Return the p-value of the source's classifier saying as much about labels that were dealt out anew.

    Args:
        probabilities: ``(n, k)`` of a classifier that saw none of the labels.
        y: ``(n,)``.
        group: ``(n,)``; labels are dealt out among single samples, or where groups are larger the sign of what each
            group says beyond the mix of classes is flipped.
        seed: Deals.
    """
    share = np.bincount(y, minlength=probabilities.shape[1]) / len(y)
    said = probabilities - probabilities.mean(axis=0)
    truth = said[np.arange(len(y)), y]
    if len(np.unique(group)) < len(group):
        beyond, weight = by_group(truth - said @ share, group)
        return weigh(np.clip(beyond, -1, 1), weight, LEVEL, seed).better
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.tile(y, (_DEALS, 1)), axis=1)
    sums = said[np.arange(len(y))[None], dealt].sum(axis=1)
    return float((1 + (sums >= truth.sum() - 1e-12).sum()) / (1 + _DEALS))
