"""The shift test: it holds its level whatever shape latents have, sees shifts, and tells another mix of classes."""

import json
from dataclasses import asdict

import numpy as np
from tests.fixtures.worlds import HOME, Place, World

from acclimate.edge.alignment.shift import ShiftTest, source_test
from acclimate.edge.statistics import SourceStatistics, Statistics


def skewed(n: int, seed: int, move: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return codes as a rectifier gives them, many 0 and a long tail, of three classes."""
    rng = np.random.default_rng((seed, 0))
    y = rng.integers(0, 3, n)
    x = rng.exponential(30, (n, 12)) * (rng.random((n, 12)) < 0.6) + 20 * (np.arange(12) % 3 == y[:, None]) + move
    return np.clip(np.rint(x), 0, 255).astype(np.uint8), y


def source(n: int = 3_000) -> SourceStatistics:
    x, y = skewed(n, 999_999)
    whole = Statistics.of(x, y, 3)
    return SourceStatistics(whole.count, whole.sum, whole.moment, None, None)


def test_the_level_holds_for_latents_that_are_no_gaussians() -> None:
    """At no shift 5 % of 200 draws are called one, but for 2.5 deviations of chance; at a small shift most are."""
    home = source()
    for n in (20, 60):
        found = [source_test(skewed(n, seed)[0], home, np.arange(n), draws=199) for seed in range(200)]
        assert np.mean([one.shifted for one in found]) <= 0.05 + 2.5 * (0.05 * 0.95 / 200) ** 0.5
        assert np.mean([one.p_value for one in found]) > 0.35
    moved = [source_test(skewed(100, seed, 6.0)[0], home, np.arange(100), draws=199).shifted for seed in range(30)]
    assert np.mean(moved) > 0.9


def test_spread_alone_is_seen() -> None:
    """A place of the same mean and less contrast differs too."""
    home, (x, _) = source(), skewed(250, 1)
    centre = home.sum.sum(axis=0) / home.samples
    flat = np.clip(np.rint(centre + 0.5 * (x - centre)), 0, 255).astype(np.uint8)
    assert source_test(flat, home, np.arange(250)).shifted


def test_another_mix_of_classes_is_told_from_a_shift() -> None:
    """Classes in another mix are a difference, and none beyond the mix; a step of all classes is one beyond it."""
    alone, beyond = 0, 0
    for seed in range(10):
        world = World(seed)
        home = world.shipped(4_000).source
        assert home is not None
        codes, _ = world.draw(150, 3, HOME, classes=(0, 0, 0, 1))
        mixed = source_test(codes, home, np.arange(150), draws=499)
        alone += mixed.shifted and not mixed.beyond
        moved, _ = world.draw(150, 3, Place(0.5, 0.0))
        beyond += bool(source_test(moved, home, np.arange(150), draws=499).beyond)
    assert alone >= 8
    assert beyond == 10


def test_near_duplicates_do_not_add_evidence() -> None:
    """Ten copies of each sample are no more evidence than one where they are told to be one unit."""
    home = source()
    alarms = {True: 0, False: 0}
    for seed in range(40):
        x, _ = skewed(20, seed)
        copies, units = np.repeat(x, 10, axis=0), np.repeat(np.arange(20), 10)
        for told in alarms:
            alarms[told] += source_test(copies, home, units if told else np.arange(200), draws=199).shifted
    assert alarms[True] <= 7
    assert alarms[False] > 20


def test_what_spans_everything_says_nothing_of_the_mix() -> None:
    """With as many classes as dimensions every mean is some mix: that is told, and no number made up."""
    world = World(0, k=6, d=4)
    home = world.shipped().source
    assert home is not None
    found = source_test(world.draw(60, 1)[0], home, np.arange(40))
    assert found.beyond is None
    assert found.p_beyond != found.p_beyond


def test_samples_all_alike() -> None:
    """A stuck sensor differs from the source, and one sample repeated as one unit says nothing."""
    home = source()
    same = np.full((40, 12), 255, np.uint8)
    assert source_test(same, home, np.arange(40)).shifted
    assert not source_test(same, home, np.zeros(40, np.int64)).shifted


def test_equal_seeds_give_equal_verdicts() -> None:
    """The draws are seeded, and the verdict is plain data that reads as one line."""
    home, (x, _) = source(), skewed(50, 3, 10.0)
    first, again = (source_test(x, home, np.arange(50), seed=4) for _ in range(2))
    assert first == again
    assert json.loads(json.dumps(asdict(first)))["samples"] == 50
    assert "differ from the source" in str(first)
    assert "no shift from the samples referred to" in str(ShiftTest(False, 0.5, 0.0, 20, 20, "samples"))
