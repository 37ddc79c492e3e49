"""The learning curve of a setting: would more samples help?"""

from collections.abc import Sequence

import numpy as np

from ..distinct import distinct
from ..heads import HEADS, Head, Problem, Setting
from .folds import Int64, assign_folds, can_judge, group_units

# Of the samples a fold leaves, one in so many is trained on.
_EVERY = (4, 2, 1)


def learning_curve(
    problem: Problem, setting: Setting, heads: Sequence[Head] = HEADS, groups: Int64 | None = None
) -> tuple[tuple[int, float], ...]:
    """Measure held-out accuracy with a quarter, a half and all of the training samples.

    The folds are those of `cross_validate`. Each part holds the smaller ones, has alike classes, and takes groups as a
    whole; of every class at least one sample or group is in it.

    Args:
        problem: Samples in the order of their ids.
        setting: The setting to judge.
        heads: Where its head is found.
        groups: ``(n,)`` groups as given to `cross_validate`, or None.

    Returns:
        Three pairs: mean number of training samples, and accuracy, class-balanced; empty where nothing can be held out.
    """
    head = next(head for head in heads if head.name == setting.head)
    y = problem.y
    fold = assign_folds(y, groups)
    source = np.zeros(problem.k) if problem.source is None else problem.source.count
    fold[~can_judge(y, fold, source > 0)] = -1
    judged = fold >= 0
    if not judged.any():
        return ()
    units = np.arange(len(y)) if groups is None else group_units(y, groups)
    found = []
    for every in _EVERY:
        right, sizes = np.zeros(len(y), np.bool_), []
        for number in distinct(fold[judged]):
            held = fold == number
            training = np.flatnonzero(~held)
            training = training[_rank(y[training], units[training]) % every == 0]
            (weights,) = head.solve(problem.subset(training), (setting,), draft=True)
            right[held] = weights.logits(problem.x[held]).argmax(axis=1) == y[held]
            sizes.append(len(training))
        accuracy = np.mean([right[judged & (y == label)].mean() for label in distinct(y[judged])])
        found.append((round(float(np.mean(sizes))), float(accuracy)))
    return tuple(found)


def _rank(y: Int64, units: Int64) -> Int64:
    """Return of each sample how many units of its class come before its own."""
    rank = np.empty(len(y), np.int64)
    for label in distinct(y):
        rows = np.flatnonzero(y == label)
        rank[rows] = np.unique(units[rows], return_inverse=True)[1]
    return rank
