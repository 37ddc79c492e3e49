"""The permutation test: its level holds, and a real shift is found."""

import numpy as np
import pytest

from acclimate.edge.transfer.mmd import Gaussians, unbiased
from acclimate.edge.transfer.shift_test import shift_test
from acclimate.errors import InputError


def bound(trials: int, level: float) -> float:
    """Return the most alarms that a binomial count stays below in all but one of 30,000 tests."""
    return float(trials * level + 4 * np.sqrt(trials * level * (1 - level)))


def test_the_level_holds() -> None:
    """Over 600 pairs of one skewed distribution, false alarms are 5 % within binomial bounds, neither more nor less."""
    draw = np.random.default_rng(0)
    alarms = sum(
        shift_test(draw.exponential(size=(12, 3)), draw.exponential(size=(25, 3)), permutations=99, seed=s).shifted
        for s in range(600)
    )
    assert alarms < bound(600, 0.05)
    assert alarms > 2 * 600 * 0.05 - bound(600, 0.05)


def test_a_shift_is_found() -> None:
    """A shift of the mean and a change of the spread alone are found in all of 20 seeds."""
    for seed in range(20):
        draw = np.random.default_rng(seed)
        source = draw.normal(size=(150, 8))
        assert shift_test(source, draw.normal(size=(100, 8)) + 0.4, seed=seed).shifted
        assert shift_test(source, draw.normal(size=(100, 8)) * 1.6, seed=seed).shifted


def test_statistic_is_the_unbiased_discrepancy() -> None:
    """The statistic is that of `mmd.unbiased` with the same kernel."""
    draw = np.random.default_rng(1)
    source, target = draw.normal(size=(20, 3)), draw.normal(size=(31, 3)) + 0.5
    both = np.concatenate([source, target])
    middle = np.median(np.sqrt(((both[:, None] - both[None]) ** 2).sum(axis=2))[np.triu_indices(51, 1)] ** 2) ** 0.5
    expected = unbiased(source, target, Gaussians((middle / 2, middle, 2 * middle)))
    assert shift_test(source, target).statistic == pytest.approx(expected, rel=1e-9)


def test_p_value_against_all_ways_of_dealing_out() -> None:
    """For four against three samples it comes near the share of all 35 ways that are as far apart."""
    from itertools import combinations

    draw = np.random.default_rng(2)
    pooled = draw.normal(size=(7, 2))
    pooled[4:] += 0.8
    found = shift_test(pooled[:4], pooled[4:], permutations=9_999)
    ways = [
        shift_test(pooled[list(one)], np.delete(pooled, one, axis=0), permutations=19).statistic
        for one in combinations(range(7), 4)
    ]
    exact = np.mean(np.array(ways) >= found.statistic - 1e-9)
    assert found.p_value == pytest.approx(exact, abs=0.02)


def test_frames_of_one_recording_need_groups() -> None:
    """Samples that come in clumps alarm falsely without groups; with them the level holds."""
    alone, grouped = 0, 0
    groups = np.repeat(np.arange(10), 5), np.repeat(np.arange(12), 5)
    for seed in range(200):
        draw = np.random.default_rng(seed)
        source, target = (draw.normal(size=(len(g) // 5, 2))[g] + 0.1 * draw.normal(size=(len(g), 2)) for g in groups)
        alone += shift_test(source, target, permutations=99, seed=seed).shifted
        grouped += shift_test(source, target, permutations=99, groups=groups, seed=seed).shifted
    assert alone > bound(200, 0.05)
    assert grouped < bound(200, 0.05)


def test_groups_find_a_shift_too() -> None:
    """With groups of uneven size a clear shift is found."""
    draw = np.random.default_rng(3)
    groups = draw.integers(0, 15, 80), draw.integers(0, 20, 90)
    found = shift_test(draw.normal(size=(80, 3)), draw.normal(size=(90, 3)) + 1, groups=groups)
    assert found.shifted


def test_many_samples_are_drawn_from_and_seeded() -> None:
    """Above `most` samples a side is drawn from; one seed gives one answer."""
    draw = np.random.default_rng(4)
    source, target = draw.normal(size=(900, 4)), draw.normal(size=(80, 4))
    found = shift_test(source, target, most=200, permutations=99, seed=5)
    assert (found.source_rows, found.target_rows) == (200, 80)
    assert found == shift_test(source, target, most=200, permutations=99, seed=5)


def test_samples_that_are_alike_have_not_shifted() -> None:
    """Where all samples are alike, or the sides hold the same ones, nothing has shifted."""
    same = np.full((8, 3), 2.0)
    assert shift_test(same, same[:5]).p_value == 1
    rows = np.random.default_rng(6).normal(size=(30, 3))
    assert shift_test(rows, rows).p_value > 0.9


def test_bad_input_is_refused() -> None:
    """A level or numbers out of range, and permutations too few to find anything, are said."""
    rows = np.random.default_rng(7).normal(size=(10, 2))
    with pytest.raises(InputError, match="level between 0 and 1"):
        shift_test(rows, rows, level=1.0)
    with pytest.raises(InputError, match=r"19 permutations for a level of 0\.05"):
        shift_test(rows, rows, permutations=18)
    with pytest.raises(InputError, match="one width"):
        shift_test(rows, rows[:, :1])
    with pytest.raises(InputError, match="source group"):
        shift_test(rows, rows, groups=([1, 2], np.arange(10)))
