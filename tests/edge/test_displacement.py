"""Classes without local samples move as the others did, where these moved together, and stay where they did not."""

import numpy as np
import pytest

from acclimate.edge.adaptation.displacement import carry_along, within_variance

from ..fixtures.worlds import HOME, Place, World

TOGETHER, APART = Place(1.0, 0.0), Place(0.0, 1.0)
SEEN = (0, 1, 2, 3)


def moved(place: Place, seed: int, rank: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the classes without samples were moved, and how far they have truly moved, in spreads."""
    world = World(seed)
    source = world.shipped(rank=rank).source
    assert source is not None
    x, y = world.draw(120, 1, place, SEEN)
    found = carry_along(source, np.arange(6), x, y)
    assert np.array_equal(found.count, source.count)
    assert np.array_equal(found.sum[:4], source.sum[:4])
    unit = np.sqrt(within_variance(source))
    true, labels = world.draw(6_000, 2, place)
    there = np.stack([true[labels == label].mean(axis=0) for label in (4, 5)])
    return (found.mean()[4:] - source.mean()[4:]) / unit, (there - source.mean()[4:]) / unit


@pytest.mark.parametrize("rank", [None, 8])
def test_a_common_move_is_followed(rank: int | None) -> None:
    """Over five worlds the classes not seen come within a third of the way to where they are."""
    for seed in range(5):
        step, true = moved(TOGETHER, seed, rank)
        assert np.linalg.norm(step - true) < np.linalg.norm(true) / 3


@pytest.mark.parametrize("place", [HOME, APART])
def test_nothing_follows_where_there_is_no_common_move(place: Place) -> None:
    """At home, and where each class went its own way, the classes not seen stay within a fifth of a spread."""
    for seed in range(5):
        step, _ = moved(place, seed)
        assert np.sqrt(np.mean(step**2)) < 0.2


def test_the_scatter_within_the_classes_stays() -> None:
    """Moving means changes the second moment by what the means say, and nothing within the classes."""
    world = World(1)
    source = world.shipped().source
    assert source is not None
    found = carry_along(source, np.arange(6), *world.draw(120, 1, TOGETHER, SEEN))
    assert found is not source
    assert found.moment is not None
    assert source.moment is not None
    before = source.moment - source.mean().T @ source.sum
    assert np.allclose(found.moment - found.mean().T @ found.sum, before, atol=1e-6 * np.abs(source.moment).max())


@pytest.mark.parametrize("seen", [(2,), (0, 1, 2, 3, 4, 5)])
def test_with_one_class_seen_or_all_nothing_is_moved(seen: tuple[int, ...]) -> None:
    """One class cannot tell a common move from its own, and with all of them seen there is none to carry."""
    world = World(1)
    source = world.shipped().source
    assert source is not None
    assert carry_along(source, np.arange(6), *world.draw(60, 1, TOGETHER, seen)) is source
