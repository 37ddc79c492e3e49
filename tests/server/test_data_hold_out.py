"""The share for validation: each class alike, whole groups, and never all of a class."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import InputError
from acclimate.server.data.hold_out import hold_out

pytestmark = pytest.mark.needs_torch


def test_each_class_gives_its_share() -> None:
    """Without groups: the share of each class to the sample, the same for a seed and another for another."""
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    first, second = hold_out(labels, 0.2, 0)
    assert np.bincount(labels[second]).tolist() == [20, 10, 2]
    assert sorted([*first, *second]) == list(range(160))
    assert np.array_equal(hold_out(labels, 0.2, 0)[1], second)
    assert not np.array_equal(hold_out(labels, 0.2, 1)[1], second)
    assert len(hold_out(labels, 0, 0)[1]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_shares_are_met_nearly(seed: int) -> None:
    """Fifty people with 20 samples of each of three classes: none is in both parts, each class is near its share."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{i}" for i in range(50)], 20)
    labels = rng.integers(0, 3, 1000)
    first, second = hold_out(labels, 0.2, seed, list(groups))
    assert not set(groups[first]) & set(groups[second])
    assert sorted([*first, *second]) == list(range(1000))
    shares = np.bincount(labels[second]) / np.bincount(labels)
    assert np.all(np.abs(shares - 0.2) < 0.05), shares


def test_a_group_with_all_of_a_class_is_trained_on() -> None:
    """Class 1 is in one group alone: that group is never kept, whatever the seed."""
    groups = np.repeat(["a", "b", "c", "d"], 10)
    labels = np.where(groups == "c", 1, 0)
    for seed in range(10):
        first, second = hold_out(labels, 0.3, seed, list(groups))
        assert len(second)
        assert set(groups[second]) <= {"a", "b", "d"}
        assert set(labels[first]) == {0, 1}


def test_kept_groups_together_leave_some_of_each_class() -> None:
    """Class 1 is in two groups: however large the share, one of them is trained on."""
    groups = np.repeat(["a", "b", "c", "d"], 10)
    labels = np.where(np.isin(groups, ["a", "b"]), 1, 0)
    for seed in range(10):
        first, _ = hold_out(labels, 0.95, seed, list(groups))
        assert set(labels[first]) == {0, 1}


def test_large_groups_give_the_smallest() -> None:
    """Where every group is larger than the share, the smallest is kept."""
    groups = np.repeat(["a", "b", "c"], [50, 20, 30])
    _, second = hold_out(np.zeros(100, np.int64), 0.01, 0, list(groups))
    assert set(groups[second]) == {"b"}


@pytest.mark.parametrize("groups", [["a"] * 4, ["a", "a", "b", "b"]])
def test_where_no_group_can_be_kept_it_is_told(groups: list[str]) -> None:
    """A single group, or classes that are each in one group."""
    with pytest.raises(InputError, match=r"each of \d groups has all samples of some class"):
        hold_out(np.array([0, 0, 1, 1]), 0.5, 0, groups)


def test_the_first_task_counts() -> None:
    """Labels of several tasks are split by the first."""
    labels = np.stack([np.repeat([0, 1], 50), np.arange(100)], axis=1)
    assert np.bincount(labels[hold_out(labels, 0.2, 0)[1], 0]).tolist() == [10, 10]
