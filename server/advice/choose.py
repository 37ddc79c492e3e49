"""Which method, where few samples tell little: a robust one, unless another is better by more than chance explains."""

import numpy as np

from ...edge.adaptation.temperature import best_temperatures
from .head import softmax
from .held_out import brier, by_group
from .method import BALANCED, TARGET_ONLY
from .pair import Float64, Int64

# Standard errors that another method must be better by.
ERRORS = 2.0
_TINY = 1e-6


def choose(loss: Float64, names: list[str], group: Int64) -> int:
    """Return the place of the method to take: the balanced pool, or what is better by more than `ERRORS` errors.

    Breiman, Friedman, Olshen and Stone 1984, "Classification and Regression Trees" (3.4.3), and Hastie, Tibshirani and
    Friedman 2009, "The Elements of Statistical Learning" (7.10), take the simplest model within one standard error of
    the best. Here it is the one that lost least where it was wrong; the error is that of the paired difference, since
    samples that are hard are hard for all methods; and it counts twice, since many methods compete: the best of 16
    equal ones is often better by one. Both were chosen on Gaussian worlds and tables, on none of the pairs of
    `benchmarks/advise.py`.

    Args:
        loss: ``(r, n)`` of each method on each sample.
        names: ``r`` names; the target alone is passed over.
        group: ``(n,)`` which samples are one piece of evidence.
    """
    own = best = names.index(BALANCED)
    for place, name in enumerate(names):
        if name in (BALANCED, TARGET_ONLY):
            continue
        gain, count = by_group(loss[own] - loss[place], group)
        share = count / count.sum()
        mean = float(share @ gain)
        error = np.sqrt(len(gain) / max(len(gain) - 1, 1) * float((share * (gain - mean)) @ (share * (gain - mean))))
        if mean > ERRORS * error and mean > 0 and loss[place].mean() < loss[best].mean():
            best = place
    return best


def tempered(logits: Float64, y: Int64, judged: Float64, truth: Int64) -> tuple[Float64, Float64]:
    """Return Brier scores on some samples, and on others at the temperatures that the first ones tell.

    Methods differ in how sure they are as much as in how right. A temperature for each (Guo et al. 2017, "On
    Calibration of Modern Neural Networks") leaves how right they are: it changes no answer. Few samples tell it badly,
    so that it is drawn to 1 as by eight samples.

    Args:
        logits: ``(r, n, k)`` of each method on samples that tell the temperature.
        y: ``(n,)`` their classes.
        judged: ``(r, j, k)`` on other samples.
        truth: ``(j,)`` their classes.

    Returns:
        ``(r, n)`` and ``(r, j)``.
    """
    heat = best_temperatures(logits, y, np.ones((1, len(y))), np.ones(len(logits)))[0]
    both = ((logits, y), (judged, truth))
    first, second = (
        np.stack([brier(softmax(z / t), own) for z, t in zip(each, heat, strict=True)]) for each, own in both
    )
    return first, second


def logits_of(probabilities: list[Float64]) -> Float64:
    """Return ``(r, n, k)`` logits of r methods; what is impossible to a method costs it no more than `_TINY` does."""
    result: Float64 = np.log(np.maximum(np.stack(probabilities), _TINY))
    return result
