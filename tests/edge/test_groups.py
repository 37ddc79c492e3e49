"""Groups: what belongs together is one piece of evidence, and what does not is not."""

import numpy as np
import pytest

from acclimate.edge.adaptation.groups import LEAST_TAGS, indistinct, sample_groups


def stream(scenes: int, looks: int, noise: float, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return bursts: `looks` frames of each of some scenes, class by class, with noise in units of the spread."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(scenes) % classes, looks)
    mean = rng.normal(size=(classes, 40)) * 20
    scene = 128 + mean[np.arange(scenes) % classes] + 15 * rng.normal(size=(scenes, 40))
    x = np.repeat(scene, looks, axis=0) + 15 * noise * rng.normal(size=(scenes * looks, 40))
    return np.clip(np.rint(x), 0, 255).astype(np.uint8), y


def test_bursts_are_groups_and_separate_scenes_are_not() -> None:
    """Seven frames of each of twelve scenes make twelve groups; single looks make as many groups as samples."""
    x, y = stream(12, 7, 0.08)
    assert np.array_equal(sample_groups(x, y), np.repeat(np.arange(12), 7))
    single, labels = stream(84, 1, 0.0)
    assert np.array_equal(sample_groups(single, labels), np.arange(84))


def test_bursts_are_seen_though_classes_take_turns() -> None:
    """Two cameras observed in turns, each standing still, are two groups."""
    x, y = stream(2, 10, 0.05, classes=2)
    turns = np.arange(20).reshape(2, 10).T.ravel()
    scattered, labels = stream(30, 1, 0.0, seed=1, classes=2)
    found = sample_groups(np.vstack([x[turns], scattered]), np.concatenate([y[turns], labels]))
    assert np.array_equal(found[:20], np.arange(20) % 2)
    assert len(np.unique(found[20:])) == 30


def test_a_sensor_that_stands_still_needs_the_spread_of_the_source_to_be_seen() -> None:
    """Samples that differ by noise alone look spread out beside each other, and not beside the source."""
    x, y = stream(3, 20, 0.05)
    assert len(np.unique(sample_groups(x, y))) > 30
    assert len(np.unique(sample_groups(x, y, None, np.full(40, 225.0)))) == 3


def test_tags_are_groups_where_there_are_enough() -> None:
    """Samples of one tag share a group across classes and time; four tags are too few to be units."""
    x, y = stream(30, 1, 0.0)
    many = tuple(f"person {i % LEAST_TAGS}" if i % 2 else None for i in range(30))
    found = sample_groups(x, y, many)
    for tag in set(many) - {None}:
        assert len(np.unique(found[[t == tag for t in many]])) == 1
    assert len(np.unique(found)) == 15 + LEAST_TAGS
    few = tuple(f"person {i % (LEAST_TAGS - 1)}" for i in range(30))
    assert len(np.unique(sample_groups(x, y, few))) == 30


def test_groups_are_numbered_as_they_begin() -> None:
    """The numbers are 0, 1, ... in the order of the first sample of each, so that they are the same every time."""
    x, y = stream(20, 3, 0.05)
    order = np.random.default_rng(2).permutation(60)
    found = sample_groups(x[order], y[order], tuple(f"t{i % 7}" for i in range(60)))
    first = np.unique(found, return_index=True)[1]
    assert np.array_equal(np.sort(first), first)
    assert np.array_equal(found, sample_groups(x[order], y[order], tuple(f"t{i % 7}" for i in range(60))))


@pytest.mark.parametrize("n", [0, 1])
def test_next_to_no_samples(n: int) -> None:
    """None and one sample have groups too."""
    assert np.array_equal(sample_groups(np.zeros((n, 4), np.uint8), np.zeros(n, np.int64)), np.arange(n))


def test_labels_that_change_before_a_sensor_that_does_not() -> None:
    """The same frame under every label is told from classes that differ, whatever the source says."""
    x, y = stream(30, 2, 0.05)
    assert indistinct(x, y) == 0
    assert indistinct(np.repeat(x[:1], 60, axis=0), y) == 1
    half = np.where(np.arange(60)[:, None] < 30, x[:1], x)
    assert indistinct(half, y) == pytest.approx(0.5, abs=0.05)
    assert indistinct(x, np.zeros(60, np.int64)) == 0
