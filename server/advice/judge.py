"""Whether transfer is worth its risk against the target's samples alone, with the search over methods paid for.

Transfer is recommended where all of this holds:

1. The source's labels have something to do with the target's: two permutation tests (see `relation`).
2. The method that would have been chosen without a fold is compared on that fold with the target's samples alone, by
   Brier scores and a sign-flip test over groups. The choice never sees what it is judged on (Varma and Simon 2006,
   "Bias in error estimation when using cross-validation for model selection"). Either it is better (p at most `SHOWN`)
   and no less accurate. Or the source's classifier by itself is about as accurate as the target's samples alone, which
   says that both are one task; then it is enough that no more than slight harm is expected, and more than `MARGIN` of
   it excluded: with few labels no test shows a small gain, and related sources mostly give one.

The margins were chosen on Gaussian worlds and tables, on none of the pairs of `benchmarks/advise.py`.
"""

from dataclasses import dataclass

import numpy as np

from ...edge.adaptation.evidence import Evidence, weigh
from .choose import choose, logits_of, tempered
from .held_out import HeldOut, by_group
from .method import POOL, SOURCE_ONLY, TARGET_ONLY
from .relation import RELATED

LEVEL, SHOWN = 0.05, 0.1
# Of the Brier score: what must be excluded, and what may be expected; and of accuracy.
MARGIN, SLIGHT, ABOUT = 0.07, 0.02, 0.15


@dataclass(frozen=True)
class Verdict:
    """What the labelled samples say.

    Args:
        chosen: The method to take: the balanced pool, or what is clearly better.
        transfer: Whether it is recommended.
        related: p-value of the source's labels having something to do with the target's.
        gain: How much lower the Brier score of choosing so is than the target's alone, with its bounds and p-values.
        accuracy_gain: Share of right answers gained by choosing so, held out.
        stands: Whether the source's classifier is about as accurate as the target's samples alone, or more.
        plain: How much lower than the target's alone the Brier score of both sides pooled is: whether to transfer
            without care is harmful.
        brier: Mean Brier score of each method, held out, at a temperature that other folds tell.
    """

    chosen: str
    transfer: bool
    related: float
    gain: Evidence
    accuracy_gain: float
    stands: bool
    plain: Evidence
    brier: dict[str, float]


def judge(held: HeldOut, related: float, *, level: float = LEVEL, seed: int = 0) -> Verdict:
    """Choose among methods, and test the choice.

    Args:
        held: Answers in two folds or more; those of the target alone, the source alone and both pools are
            among them.
        related: p-value of the source's labels having something to do with the target's.
        level: Chance of error of the bound on the gain.
        seed: Draws signs.
    """
    names = list(held.probabilities)
    alone, n = names.index(TARGET_ONLY), len(held.y)
    logits = logits_of([held.probabilities[name] for name in names])
    right = logits.argmax(axis=2) == held.y
    loss, picked = np.empty((len(names), n)), np.empty(n, np.intp)
    for one in np.unique(held.fold):
        there = held.fold == one
        known, loss[:, there] = tempered(logits[:, ~there], held.y[~there], logits[:, there], held.y[there])
        picked[there] = choose(known, names, held.group[~there])
    difference = loss[alone] - loss[picked, np.arange(n)]
    gain = weigh(*by_group(difference, held.group), level, seed)
    plain = weigh(*by_group(loss[alone] - loss[names.index(POOL)], held.group), level, seed)
    accuracy_gain = float(right[picked, np.arange(n)].mean() - right[alone].mean())
    chosen = names[choose(tempered(logits, held.y, logits, held.y)[0], names, held.group)]
    stands = bool(right[names.index(SOURCE_ONLY)].mean() >= right[alone].mean() - ABOUT)
    transfer = related <= RELATED and decide(gain, accuracy_gain, stands=stands)
    scores = dict(zip(names, loss.mean(axis=1).tolist(), strict=True))
    return Verdict(chosen, transfer, related, gain, accuracy_gain, stands, plain, scores)


def decide(gain: Evidence, accuracy_gain: float, *, stands: bool) -> bool:
    """Return whether a gain is shown, or next to no harm expected and more excluded where the source stands by itself.

    Args:
        gain: Of the Brier score.
        accuracy_gain: Share of right answers gained.
        stands: Whether the source's classifier is about as accurate as the target's samples alone.
    """
    shown = gain.better <= SHOWN and accuracy_gain >= 0
    return shown or (stands and gain.mean > -SLIGHT and gain.low >= -MARGIN)
