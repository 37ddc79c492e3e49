"""Evidence: exact against every combination of signs, and an interval that holds what it promises."""

from itertools import product
from math import comb

import numpy as np
import pytest

from acclimate.edge.adaptation.evidence import EXHAUSTIVE, MOST, weigh

RISK = 0.1


def sign_test(wins: int, losses: int) -> float:
    """Return the one-sided p-value of the sign test."""
    return float(sum(comb(wins + losses, i) for i in range(wins, wins + losses + 1)) / 2 ** (wins + losses))


def paired(wins: int, losses: int, ties: int) -> np.ndarray:
    """Return so many differences of 1, -1 and 0."""
    return np.repeat([1.0, -1.0, 0.0], [wins, losses, ties])


@pytest.mark.parametrize(("wins", "losses", "ties"), [(0, 0, 9), (4, 0, 50), (3, 1, 0), (7, 3, 60), (12, 0, 7)])
def test_of_equal_units_it_is_the_sign_test(wins: int, losses: int, ties: int) -> None:
    """With few units that differ, both p-values are those of McNemar's exact test."""
    found = weigh(paired(wins, losses, ties), np.ones(wins + losses + ties), RISK)
    assert found.better == pytest.approx(sign_test(wins, losses), abs=1e-12)
    assert found.worse == pytest.approx(sign_test(losses, wins), abs=1e-12)
    assert found.mean == pytest.approx((wins - losses) / (wins + losses + ties))


def test_many_units_come_near_the_sign_test() -> None:
    """Drawn signs give the exact p-value within four standard errors of 4,096 draws."""
    for wins, losses in ((30, 20), (60, 50), (400, 380)):
        exact = sign_test(wins, losses)
        found = weigh(paired(wins, losses, 40), np.ones(wins + losses + 40), RISK)
        assert found.better == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 4096) ** 0.5)
    # What was seen is one of the combinations: no p-value is 0.
    assert weigh(np.ones(100), np.ones(100), RISK).better >= 1 / 4096


def test_weighted_units_are_tested_over_every_combination_of_signs() -> None:
    """For unequal weights and sizes the p-value is the share of sign combinations with as great a sum."""
    rng = np.random.default_rng(0)
    for units in range(1, EXHAUSTIVE):
        difference, weight = rng.uniform(-1, 1, units), rng.uniform(0.1, 3, units)
        seen = (weight * difference).sum()
        sums = np.array([(np.array(signs) * weight * difference).sum() for signs in product((1, -1), repeat=units)])
        assert weigh(difference, weight, RISK).better == pytest.approx(np.mean(sums >= seen - 1e-12), abs=1e-12)


def test_the_bounds_agree_with_the_test() -> None:
    """The lower bound is above 0 exactly where the gain is shown, the upper one below 0 where the loss is."""
    rng = np.random.default_rng(1)
    for seed in range(300):
        units = int(rng.integers(1, 60))
        difference = rng.choice([-1, 0, 0, 0.5, 1], units) * rng.choice([1, -1])
        found = weigh(difference, rng.uniform(0.2, 2, units), RISK, seed)
        assert (found.low > 0) == (found.better <= RISK)
        assert (found.high < 0) == (found.worse <= RISK)
        assert -1 <= found.low <= found.mean + 1e-9
        assert found.mean - 1e-9 <= found.high <= 1


@pytest.mark.parametrize(
    ("units", "gain", "loss"), [(10, 0.3, 0.1), (40, 0.1, 0.1), (40, 0.3, 0.05), (200, 0.05, 0.02)]
)
def test_each_bound_is_wrong_no_more_often_than_the_risk(units: int, gain: float, loss: float) -> None:
    """Of 400 samples, either bound misses the true gain in no larger a share than promised, up to three errors."""
    missed = np.zeros(2)
    for seed in range(400):
        draw = np.random.default_rng((2, seed)).random(units)
        difference = np.where(draw < gain, 1.0, np.where(draw < gain + loss, -1.0, 0.0))
        found = weigh(difference, np.ones(units), RISK)
        missed += [found.low > gain - loss + 1e-12, found.high < gain - loss - 1e-12]
    assert (missed / 400 <= RISK + 3 * (RISK * (1 - RISK) / 400) ** 0.5).all()


def test_where_nothing_differs_the_bounds_follow_the_rule_of_three() -> None:
    """Equal predictions on n units bound the difference by what so many could have missed, not by zero."""
    found = weigh(np.zeros(40), np.ones(40), 0.05)
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 40))
    assert found.low == -found.high


def test_without_units_nothing_is_known() -> None:
    """No unit gives no mean, and bounds that exclude nothing."""
    found = weigh(np.empty(0), np.empty(0), RISK)
    assert np.isnan(found.mean)
    assert (found.low, found.high, found.better, found.worse) == (-1.0, 1.0, 1.0, 1.0)


def test_very_many_units_are_pooled() -> None:
    """Above the number of units that are tried one by one, sums of them give the same verdict and mean."""
    difference = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 5 * MOST, p=[0.1, 0.75, 0.15])
    found = weigh(difference, np.ones(5 * MOST), RISK)
    assert found.mean == pytest.approx(difference.mean())
    assert found.better < 0.001
    assert 0.03 < found.low < found.mean < found.high < 0.07
