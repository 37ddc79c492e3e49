"""Splits: by class, seeded, disjoint, nested."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from hypothesis import given
from hypothesis import strategies as st

from acclimate.errors import NotEnoughSamplesError
from acclimate.server.splits import draw_budgets, split_by_class

pytestmark = pytest.mark.needs_torch


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 9))
def test_split_covers_every_row_once_and_every_class_alike(labels: list[int], share: float, seed: int) -> None:
    """Both parts together are all rows, and each class gives its rounded share."""
    array = np.asarray(labels)
    first, second = split_by_class(array, share, seed=seed)
    assert sorted([*first, *second]) == list(range(len(array)))
    for label in set(labels):
        assert int((array[second] == label).sum()) == round(share * labels.count(label))


@given(st.integers(0, 20))
def test_budgets_are_nested_balanced_and_apart_from_the_test(seed: int) -> None:
    """A larger budget only adds samples, each class gives as many as asked, and the test shares none of them."""
    labels = np.arange(120) % 4
    rows = np.arange(10, 110)
    split = draw_budgets(labels, (2, 5, 9), seed=seed, rows=rows)
    for count, drawn in split.budgets.items():
        assert np.bincount(labels[drawn]).tolist() == [count] * 4
        assert set(drawn) <= set(rows)
        assert not set(drawn) & set(split.test)
    assert set(split.budgets[2]) < set(split.budgets[5]) < set(split.budgets[9])
    assert set(split.test) | set(split.budgets[9]) == set(rows)


def test_draws_follow_the_seed() -> None:
    """Equal seeds draw the same rows, other seeds others, and another set of budgets does not change a draw."""
    labels = np.arange(400) % 4
    one, same, other = (draw_budgets(labels, (2, 9), seed=seed).budgets[9] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(draw_budgets(labels, (5, 9), seed=1).budgets[9], one)


def test_too_few_samples_are_refused() -> None:
    """A class that would leave none to test on is named."""
    with pytest.raises(NotEnoughSamplesError, match=r"more than 5 samples of class 1.*found 5"):
        draw_budgets(np.array([0] * 9 + [1] * 5), (2, 5), seed=0)
