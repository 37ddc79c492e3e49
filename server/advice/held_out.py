"""What methods answer on labelled target samples that they did not see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...edge.adaptation.folds import group_units
from ...errors import AcclimateError
from .method import TransferMethod
from .pair import Float64, Int64, Pair

# Fewer judged samples than this tell next to nothing: the least p-value would be above 3 %.
LEAST_JUDGED = 6
# Fewer folds leave fewer samples to learn from, which holds back most what leans on the target's.
FOLDS = 10
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
    """Cross-validate over the target's labelled samples alone, in up to ten folds, stratified, groups kept together.

    A fold's samples are gone while methods are fitted: no map, weight or mix of classes has seen them, labels or not.

    Args:
        pair: Both sides.
        methods: What is compared.
        groups: ``(m,)`` which labelled samples must stay together.
        progress: Told after each fit.
    """
    y = pair.target_y
    fold = deal_folds(y, groups, pair.seed)
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


def deal_folds(y: Int64, groups: Int64, seed: int = 0) -> Int64:
    """Return the ``(m,)`` fold of each sample, 0 to `FOLDS` - 1 or fewer, groups kept together, class after class.

    The samples of a class that is in one group only are dealt one by one: else it could never be judged.

    Args:
        y: ``(m,)`` classes.
        groups: ``(m,)`` groups.
        seed: Deals.
    """
    units = group_units(y, groups)
    _, first = np.unique(units, return_index=True)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(y[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    result: Int64 = fold[units]
    return result


def by_group(values: Float64, group: Int64) -> tuple[Float64, Float64]:
    """Return the mean of each group's values and how many they are."""
    _, place = np.unique(group, return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    return np.bincount(place, values) / count, count


def brier(probabilities: Float64, y: Int64) -> Float64:
    """Return half the squared distance of ``(n, k)`` probabilities to the truth, ``(n,)``, 0 to 1.

    Brier 1950, "Verification of forecasts expressed in terms of probability": least in the mean for the true
    probabilities, and with few samples it tells much more than the share of right answers.
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(y)), y] = 1
    result: Float64 = 0.5 * ((probabilities - truth) ** 2).sum(axis=1)
    return result
