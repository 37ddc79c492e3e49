"""Folds of cross-validation: stratified by class, and samples that belong together on one side of every split."""

from collections import Counter
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from ..distinct import distinct

FOLDS = 5
Int64 = NDArray[np.int64]


def assign_folds(y: Int64, groups: Int64 | None = None) -> Int64:
    """Deal samples to folds, in the order given, so that folds have alike classes.

    Without groups, class by class, sample by sample. With groups, group by group in the order of their first sample:
    each goes to the fold that has the least of its classes yet (then the least samples, then the first). The samples of
    a class that is in one group only are dealt one by one as if each were a group: else the class could never be
    judged. Its samples, and theirs alone, may be alike on both sides of a split.

    Args:
        y: ``(n,)`` classes, in the order of the sample ids.
        groups: ``(n,)`` groups of samples that must stay together, such as frames of one scene; None for none.

    Returns:
        ``(n,)`` fold of each sample, 0 to 4.
    """
    fold = np.empty(len(y), np.int64)
    if groups is not None:
        units = group_units(y, groups)
        return _dealt(y, units)[units]
    behind = 0
    for label in distinct(y):
        rows = np.flatnonzero(y == label)
        # Each class goes on where the one before ended: folds differ by one sample at most.
        fold[rows] = (np.arange(len(rows)) + behind) % FOLDS
        behind += len(rows)
    return fold


def group_units(y: Int64, groups: Int64) -> Int64:
    """Return what must stay together: ``(n,)`` numbers 0, 1, ... in the order of their first sample.

    Samples of one group have one number, but those of a class that is in one group only have each their own.
    """
    _, group = np.unique(groups, return_inverse=True)
    _, label = np.unique(y, return_inverse=True)
    pairs = distinct(label * len(y) + group)
    lone = (np.bincount(pairs // len(y)) == 1)[label]
    keys = np.where(lone, len(y) + np.arange(len(y)), group)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    result: Int64 = rank[place]
    return result


def _dealt(y: Int64, units: Int64) -> Int64:
    """Return the fold of each unit."""
    labels, label = np.unique(y, return_inverse=True)
    share = (1 / np.bincount(label)).tolist()
    order = np.argsort(units, kind="stable")
    rows = zip(units[order].tolist(), label[order].tolist(), strict=True)
    load, sizes, fold = [[0.0] * len(labels) for _ in range(FOLDS)], [0] * FOLDS, []
    # Plain numbers: an array for the few classes of each unit would cost ten times as much.
    for _, unit in groupby(rows, itemgetter(0)):
        times = Counter(own for _, own in unit)
        part = {own: count * share[own] for own, count in times.items()}
        costs = [sum(held[own] * weight for own, weight in part.items()) for held in load]
        # Sums of equal parts differ by rounding, which must not decide.
        alike = [place for place, cost in enumerate(costs) if cost <= min(costs) + 1e-9]
        chosen = min(alike, key=sizes.__getitem__)
        for own, weight in part.items():
            load[chosen][own] += weight
        sizes[chosen] += times.total()
        fold.append(chosen)
    return np.array(fold, np.int64)


def can_judge(y: Int64, fold: Int64, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ``(n,)`` which samples can be predicted by what is known without their fold.

    Args:
        y: ``(n,)`` classes.
        fold: ``(n,)`` their folds.
        known: ``(k,)`` classes that are known without any sample.
    """
    sizes = np.zeros((len(known), FOLDS), np.int64)
    np.add.at(sizes, (y, fold), 1)
    result: NDArray[np.bool_] = known[y] | (sizes.sum(axis=1)[y] > sizes[y, fold])
    return result
