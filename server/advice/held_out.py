"""What methods answer on labelled target samples that they did not see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...edge.adaptation.folds import assign_folds
from ...errors import AcclimateError
from .method import TransferMethod
from .pair import Float64, Int64, Pair

# Fewer judged samples than this tell next to nothing: the least p-value would be above 3 %.
LEAST_JUDGED = 6
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers on the judged samples.

    Args:
        rows: ``(j,)`` places of the judged samples among the target's labelled ones: of a class with one labelled
            sample, it is only ever learnt from, since held out no sample of its class is left.
        fold: ``(j,)`` fold of each.
        group: ``(j,)`` group of each.
        y: ``(j,)`` their classes.
        probabilities: ``(j, k)`` of each method that could be fitted, by name.
        refused: Why the others could not be.
    """

    rows: NDArray[np.intp]
    fold: Int64
    group: Int64
    y: Int64
    probabilities: dict[str, Float64]
    refused: dict[str, str]


def hold_out(pair: Pair, methods: Sequence[TransferMethod], groups: Int64, progress: Progress | None = None) -> HeldOut:
    """Cross-validate over the target's labelled samples alone, in five folds, stratified, groups kept together.

    A fold's samples are gone while methods are fitted: no map, weight or mix of classes has seen them, labels or not.

    Args:
        pair: Both sides.
        methods: What is compared.
        groups: ``(m,)`` which labelled samples must stay together.
        progress: Told after each fit.
    """
    y = pair.target_y
    order = np.random.default_rng(pair.seed).permutation(len(y))
    fold = np.empty(len(y), np.int64)
    alone = len(np.unique(groups)) == len(groups)
    fold[order] = assign_folds(y[order], None if alone else groups[order])
    rows = np.flatnonzero(np.bincount(y, minlength=pair.k)[y] > 1)
    folds = np.unique(fold[rows])
    found, refused = {}, {}
    for number, method in enumerate(methods):
        answers = np.zeros((len(y), pair.k))
        for step, one in enumerate(folds):
            held = np.zeros(len(y), np.bool_)
            held[rows] = fold[rows] == one
            less = pair.labelled(~held)
            if said := method.why_not(less):
                refused[method.name] = said
                break
            try:
                answers[held] = method.fit(less)(pair.target_x[held])
            except AcclimateError as error:
                refused[method.name] = str(error)
                break
            if progress is not None:
                progress(number * len(folds) + step + 1, len(methods) * len(folds))
        else:
            found[method.name] = answers[rows]
    return HeldOut(rows, fold[rows], groups[rows], y[rows], found, refused)


def brier(probabilities: Float64, y: Int64) -> Float64:
    """Return half the squared distance of ``(n, k)`` probabilities to the truth, ``(n,)``, 0 to 1.

    Brier 1950, "Verification of forecasts expressed in terms of probability": least in the mean for the true
    probabilities, and with few samples it tells much more than the share of right answers.
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(y)), y] = 1
    result: Float64 = 0.5 * ((probabilities - truth) ** 2).sum(axis=1)
    return result
