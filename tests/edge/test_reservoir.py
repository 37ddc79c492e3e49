"""The reservoir: every sample of a class had the same chance to stay, and room is made in the largest class."""

import numpy as np
import pytest

from acclimate.edge.store.reservoir import Plan, after_loss, after_moves, plan, uniform


def feed(classes: list[int], capacity: int, step: int, draws: int = 0) -> tuple[dict[int, list[int]], int]:
    """Offer samples 0, 1, ... in calls of some size, as the store does, and return which stay, and the draws."""
    stored: dict[int, list[int]] = {}
    seen: dict[int, float] = {}
    for start in range(0, len(classes), step):
        arrivals = classes[start : start + step]
        found = plan(stored, seen, arrivals, capacity - sum(map(len, stored.values())), draws)
        seen, draws = found.seen, found.draws
        for c in stored:
            stored[c] = [i for i in stored[c] if i not in found.evicted]
        for place in found.kept:
            stored.setdefault(arrivals[place], []).append(start + place)
    return stored, draws


def test_random_numbers_are_uniform() -> None:
    """A hundred thousand of them fill a hundred bins evenly, and neighbours are uncorrelated."""
    x = np.array([uniform(i) for i in range(100_000)])
    counts = np.bincount((x * 100).astype(int), minlength=100)
    assert ((counts - 1000) ** 2 / 1000).sum() < 150
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.01
    assert 0 <= x.min() < x.max() < 1


def test_one_class_is_sampled_uniformly() -> None:
    """Over 4,000 streams of 50, each place stays in a reservoir of 10 as often as any other: chi-squared."""
    counts, draws = np.zeros(50), 0
    for _ in range(4_000):
        stored, draws = feed([0] * 50, 10, 50, draws)
        counts[stored[0]] += 1
    assert counts.sum() == 40_000
    expected = 4_000 * 10 / 50
    # 49 degrees of freedom: above 85 once in a thousand. The variance of a place is that of a Bernoulli trial.
    assert ((counts - expected) ** 2 / (expected * (1 - 10 / 50))).sum() * 49 / 50 < 85


def test_unbalanced_streams_are_sampled_uniformly_within_each_class() -> None:
    """With three classes of 60, 25 and 5 that come mixed, each keeps the same chance for all of its samples."""
    order = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 25, 5]))
    counts, draws = np.zeros(90), 0
    for _ in range(3_000):
        stored, draws = feed(order.tolist(), 30, 7, draws)
        for ids in stored.values():
            counts[ids] += 1
        assert len(stored[2]) == 5
        assert abs(len(stored[0]) - len(stored[1])) <= 1
    for c, n in ((0, 60), (1, 25)):
        share = counts[order == c] / 3_000
        expected = share.mean()
        spread = np.sqrt(expected * (1 - expected) / 3_000)
        assert np.abs(share - expected).max() < 4.5 * spread
        # Early and late samples alike: an algorithm that prefers either has a slope.
        assert abs(np.polyfit(np.linspace(-1, 1, n), share, 1)[0]) < 4 * spread / np.sqrt(n / 3)


@pytest.mark.parametrize("step", [1, 3, 50, 1000])
def test_how_samples_are_grouped_into_calls_makes_no_difference(step: int) -> None:
    """One by one or all at once, the same samples stay."""
    classes = np.random.default_rng(1).integers(0, 4, 300).tolist()
    assert feed(classes, 40, step) == feed(classes, 40, 17)


def test_room_is_made_in_the_largest_class() -> None:
    """A small class that comes late is stored whole, at the cost of the largest."""
    stored, _ = feed([0] * 50 + [1] * 20 + [2] * 3, 30, 1)
    assert len(stored[2]) == 3
    assert sorted(len(ids) for ids in stored.values()) == [3, 13, 14]


def test_a_bound_that_was_lowered_evicts() -> None:
    """Room below zero takes that many samples from the largest classes, at most all."""
    found = plan({0: range(1, 11), 1: range(11, 15)}, {}, [], -5, 0)
    assert found.kept == ()
    assert sorted(found.evicted) == sorted(set(found.evicted))
    assert len(found.evicted) == 5
    assert max(found.evicted) <= 10
    assert found.seen == {0: 10.0}
    assert len(plan({0: range(1, 4)}, {}, [0], -9, 0).evicted) == 3


def test_without_room_nothing_is_kept() -> None:
    """A store that has room for no sample at all keeps none, and does not fail."""
    assert plan({}, {}, [0, 1, -1], 0, 5) == Plan((), (), {}, 5)


def test_counts_follow_erasing_and_relabelling() -> None:
    """Erased samples take their share of the count along; relabelled ones carry it to the other class."""
    assert after_loss({0: 100.0, 1: 50.0}, {0: 10, 1: 5}, {0: 4}) == {0: 40.0}
    moved = after_moves({0: 100.0}, {0: 10, 1: 3}, [(0, 1), (0, 1)])
    assert moved == {0: 80.0, 1: 23.0}
    assert after_moves({0: 100.0}, {0: 1, 1: 3}, [(0, 1)]) == {1: 103.0}
    assert after_moves({0: 100.0}, {0: 10, 1: 3}, [(1, 2)]) == {0: 100.0}
