"""Whether the source's labels have anything to do with the target's: two tests, both of which must say so.

1. Dealing the target's labels out anew. The source's classifier has seen none of them, so that it says as much about
   labels that are dealt out (Fisher 1935, "The Design of Experiments") if it says nothing about them. But where the
   target's classes lie apart, any direction, that of noise too, runs along them by chance, and one deal of samples that
   lie together looks like many.
2. Dealing the source's labels out anew, and fitting again: a source whose labels are noise says no more than one whose
   labels were dealt out, whatever its features or the target's are like, so that it passes as often as the level says
   (Ojala and Garriga 2010, "Permutation tests for studying classifier performance"). Least squares is linear in the
   labels, so that all deals are one product.
"""

import numpy as np

from ...edge.adaptation.evidence import weigh
from .head import STRENGTH
from .held_out import HeldOut, by_group
from .method import SOURCE_ONLY
from .pair import Float64, Int64, Pair

RELATED = 0.01
_LEVEL, _DEALS, _REFITS = 0.05, 1_999, 999
_ROUNDING = 1e-12


def relation(pair: Pair, held: HeldOut, seed: int = 0) -> float:
    """Return the greater p-value of both tests on the judged samples.

    Args:
        pair: Both sides.
        held: Which target samples are judged, and what the source's classifier says about them.
        seed: Deals.
    """
    here = target_labels_dealt(held.probabilities[SOURCE_ONLY], held.y, held.group, seed)
    return max(here, source_labels_dealt(pair.source_x, pair.source_y, pair.target_x[held.rows], held.y, seed))


def target_labels_dealt(probabilities: Float64, y: Int64, group: Int64, seed: int = 0) -> float:
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
        return weigh(np.clip(beyond, -1, 1), weight, _LEVEL, seed).better
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.tile(y, (_DEALS, 1)), axis=1)
    sums = said[np.arange(len(y))[None], dealt].sum(axis=1)
    return float((1 + (sums >= truth.sum() - _ROUNDING).sum()) / (1 + _DEALS))


def source_labels_dealt(source_x: Float64, source_y: Int64, x: Float64, y: Int64, seed: int = 0) -> float:
    """Return the p-value of the source saying as much about the target once its own labels are dealt out anew.

    The source's classifier here is ridge regression on its classes, with the penalty of `fit_linear`.

    Args:
        source_x: ``(n, d)``.
        source_y: ``(n,)`` classes.
        x: ``(m, d)`` target samples.
        y: ``(m,)`` their classes.
        seed: Deals.
    """
    centre = source_x.mean(axis=0)
    home, here = source_x - centre, x - centre
    gram = home.T @ home
    penalty = max(STRENGTH * float(np.trace(gram)) / len(home), 1e-12)
    # What a unit of each source label adds to the score of each target sample.
    said = here @ np.linalg.solve(gram + penalty * np.eye(len(gram)), home.T)
    said -= said.mean(axis=0)
    classes = np.arange(int(max(source_y.max(), y.max())) + 1)
    adds = np.stack([said[y == c].sum(axis=0) for c in classes], axis=1)
    dealt = np.random.default_rng(seed).permuted(np.tile(source_y, (_REFITS, 1)), axis=1)
    rows = np.arange(len(source_y))
    sums = adds[rows, dealt].sum(axis=1)
    return float((1 + (sums >= adds[rows, source_y].sum() - _ROUNDING).sum()) / (1 + _REFITS))
