"""Folds: every class spread evenly, groups kept together, later samples without a say in earlier ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.edge.adaptation.folds import FOLDS, assign_folds, can_judge, group_units

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(labels)
def test_folds_are_stratified(y: np.ndarray) -> None:
    """Every class is spread over the folds evenly, and folds differ by at most one sample."""
    fold = assign_folds(y)
    assert set(fold) <= set(range(FOLDS))
    for rows in [np.ones(len(y), bool), *(y == c for c in np.unique(y))]:
        sizes = np.bincount(fold[rows], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1


@given(labels, st.integers(0, 2**32), st.integers(0, 60))
def test_folds_do_not_depend_on_the_order_of_later_samples(y: np.ndarray, seed: int, cut: int) -> None:
    """Equal labels give equal folds, and shuffling the samples behind one changes neither its fold nor any before."""
    later = np.random.default_rng(seed).permutation(y[cut:])
    assert (assign_folds(np.append(y[:cut], later))[:cut] == assign_folds(y)[:cut]).all()


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes and groups, of one class each or of several."""
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = rng.integers(-3, draw(st.integers(-2, 20)), n)
    return (groups % 3 if draw(st.booleans()) else rng.integers(0, 4, n)), groups


@given(grouped())
def test_a_group_is_in_one_fold(sample: tuple[np.ndarray, np.ndarray]) -> None:
    """All samples of a group are in one fold, but for those of a class that is in this group alone."""
    y, groups = sample
    fold = assign_folds(y, groups)
    assert set(fold) <= set(range(FOLDS))
    lone = np.array([len(np.unique(groups[y == label])) == 1 for label in y])
    for group in np.unique(groups):
        assert len(np.unique(fold[(groups == group) & ~lone])) <= 1
    for label in np.unique(y[lone]):
        # Dealt one by one: at least two folds where there are two samples, so that each can be judged by the others.
        assert len(np.unique(fold[y == label])) >= min(2, (y == label).sum())


@given(grouped(), st.integers(0, 60))
def test_groups_that_come_later_do_not_move_those_before(sample: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    """With as many samples of each class, the order of the last groups has no say in the folds of the first."""
    y, groups = sample
    units = group_units(y, groups)
    order = np.argsort(units, kind="stable")
    y, groups, units = y[order], groups[order], units[order]
    cut = units < np.median(units)
    later = np.random.default_rng(seed).permutation(np.flatnonzero(~cut))
    mixed = np.append(np.flatnonzero(cut), later)
    assert (assign_folds(y[mixed], groups[mixed])[: cut.sum()] == assign_folds(y, groups)[: cut.sum()]).all()


@pytest.mark.parametrize("each", [1, 3, 10])
def test_groups_are_dealt_evenly(each: int) -> None:
    """Groups of one size and one class are spread over the folds as single samples are."""
    groups = np.repeat(np.arange(40), each)
    y = groups % 4
    fold = assign_folds(y, groups)
    for label in range(4):
        assert np.bincount(fold[y == label], minlength=FOLDS).tolist() == [2 * each] * FOLDS


@given(labels)
def test_groups_of_one_are_no_groups(y: np.ndarray) -> None:
    """Where every sample is its own group, classes are spread as without groups."""
    fold = assign_folds(y, np.arange(len(y)))
    for label in np.unique(y):
        sizes = np.bincount(fold[y == label], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1


def test_what_is_known_without_a_fold_can_be_judged() -> None:
    """A class that lies in one fold alone cannot be judged, unless it is known from elsewhere."""
    y, fold = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 2, 2, 3])
    assert can_judge(y, fold, np.zeros(3, bool)).tolist() == [True, True, False, False, False]
    assert can_judge(y, fold, np.array([False, True, False])).tolist() == [True, True, True, True, False]
