"""The learning curve: nested shares of the training samples, groups taken as a whole, held out as in the search."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.curve import learning_curve
from acclimate.edge.adaptation.folds import FOLDS, assign_folds
from acclimate.edge.adaptation.selection import cross_validate
from acclimate.edge.heads import LDA, Problem, Prototype, Setting, Weights

Blobs = Callable[..., Any]


class Watcher:
    """A head that remembers what it was trained on."""

    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        return (Setting(self.name, 1.0),)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        self.seen.append(problem.x[:, 0].astype(int))
        return [Weights(np.zeros((problem.k, problem.x.shape[1])), np.zeros(problem.k))]


def watched(y: np.ndarray, groups: np.ndarray | None = None) -> list[list[np.ndarray]]:
    """Return which samples were trained on: for a quarter, a half and all, by fold."""
    head = Watcher()
    x = np.arange(len(y), dtype=np.float64)[:, None]
    learning_curve(Problem(x, y, 3), Setting("watcher", 1.0), (head,), groups)
    return [head.seen[i : i + FOLDS] for i in range(0, len(head.seen), FOLDS)]


def test_parts_are_nested_and_of_alike_classes() -> None:
    """A quarter lies in a half, that in all; each class has its share; and no part holds the fold it is judged on."""
    y = np.arange(120) % 3
    fold = assign_folds(y)
    quarter, half, whole = watched(y)
    for number in range(FOLDS):
        assert set(quarter[number]) < set(half[number]) < set(whole[number])
        assert set(whole[number]) == set(np.flatnonzero(fold != number))
        for part, size in ((quarter, 8), (half, 16), (whole, 32)):
            assert np.bincount(y[part[number]]).tolist() == [size] * 3


def test_groups_are_taken_as_a_whole() -> None:
    """Of a group of alike samples all are in a part or none; a quarter of the samples is a quarter of the groups."""
    groups = np.arange(360) // 6
    y = groups % 3
    fold = assign_folds(y, groups)
    for part, size in zip(watched(y, groups), (4, 8, 16), strict=True):
        for number, rows in enumerate(part):
            assert not (fold[rows] == number).any()
            assert (np.bincount(groups[rows])[np.unique(groups[rows])] == 6).all()
            assert [len(np.unique(groups[rows][y[rows] == c])) for c in range(3)] == [size] * 3


def test_every_class_is_in_every_part() -> None:
    """A class of two samples has one in each part that it can be judged with."""
    y = np.append(np.zeros(40, int), [1, 1])
    for part in watched(y):
        for number, rows in enumerate(part):
            assert (y[rows] == 1).any(), number


def test_the_end_of_the_curve_is_the_trial(blobs: Blobs) -> None:
    """With all training samples the accuracy is what the search found of the setting."""
    problem = blobs(k=4, m=30, apart=0.4).full(80)
    found = cross_validate(problem)
    for trial in found.trials[:: len(found.trials) // 6]:
        curve = learning_curve(problem, trial.setting)
        # One sample of 80 may be decided otherwise by a draft.
        assert curve[-1][1] == pytest.approx(trial.accuracy, abs=0.013)
        assert [size for size, _ in curve] == [16, 32, 64]


def test_the_curve_rises_where_samples_help(blobs: Blobs) -> None:
    """Where there are few samples for many dimensions, more of them give a higher accuracy."""
    curve = learning_curve(blobs(k=4, m=40, apart=0.35).problem(400), Setting("lda", 1.0), (LDA(),))
    assert [a for _, a in curve] == sorted(a for _, a in curve)
    assert curve[-1][1] > curve[0][1] + 0.05


def test_nothing_to_hold_out_gives_no_curve() -> None:
    """With one sample a class there is no curve."""
    assert learning_curve(Problem(np.eye(3), np.arange(3), 3), Setting("prototype", 0.0), (Prototype(),)) == ()
