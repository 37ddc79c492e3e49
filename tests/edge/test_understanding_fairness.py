"""Group fairness, against fairlearn and by hand."""

import math
import warnings
from typing import Any

import numpy as np
import pytest

from acclimate.edge.understanding.fairness import group_fairness
from acclimate.edge.understanding.shares import Share
from acclimate.errors import InputError

SEEDS = range(12)


def drawn(seed: int, classes: int = 2) -> tuple[Any, Any, Any]:
    """Draw truth, predictions and groups in which every group has every class."""
    draw = np.random.default_rng(seed)
    k = int(draw.integers(2, 5))
    n = int(draw.integers(12 * k * classes, 200 * k))
    y = np.concatenate([np.tile(np.arange(classes), k), draw.integers(0, classes, n)])
    group = np.concatenate([np.repeat(np.arange(k), classes), draw.integers(0, k, n)])
    predicted = np.where(draw.random(len(y)) < draw.random(k)[group], y, draw.integers(0, classes, len(y)))
    return y, predicted, group


@pytest.mark.parametrize("seed", SEEDS)
def test_gaps_are_those_of_fairlearn(seed: int) -> None:
    """Differences and ratios of selection, recall and odds equal fairlearn's, of a class against all others."""
    metrics = pytest.importorskip("fairlearn.metrics")
    y, predicted, group = drawn(seed, classes=2 + seed % 3)
    found = group_fairness(y, predicted, group, draws=0)
    for part in found.classes:
        own, taken = (y == int(part.label)).astype(int), (predicted == int(part.label)).astype(int)
        for name, gap in (
            ("demographic_parity", part.demographic_parity),
            ("equal_opportunity", part.equal_opportunity),
            ("equalized_odds", part.equalized_odds),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = [
                    getattr(metrics, f"{name}_{kind}")(own, taken, sensitive_features=group)
                    for kind in ("difference", "ratio")
                ]
            np.testing.assert_allclose([gap.difference, gap.ratio], wanted, rtol=1e-12, err_msg=name)


def test_any_labels_give_the_gaps_of_fairlearn() -> None:
    """Whatever two classes and groups hypothesis finds, differences equal fairlearn's where it knows every rate."""
    metrics, hypothesis = pytest.importorskip("fairlearn.metrics"), pytest.importorskip("hypothesis")
    strategies = hypothesis.strategies
    row = strategies.tuples(strategies.booleans(), strategies.booleans(), strategies.sampled_from("abc"))

    def check(rows: list[tuple[bool, bool, str]]) -> None:
        y, predicted, group = (np.array(column) for column in zip(*rows, strict=True))
        names = np.unique(group)
        # A class that no sample has, nor is predicted to have, is refused.
        hypothesis.assume(len(names) > 1 and (y | predicted).any())
        part = group_fairness(y, predicted, group, classes=[True], draws=0).classes[0]
        wanted = metrics.demographic_parity_difference(y, predicted, sensitive_features=group)
        assert part.demographic_parity.difference == pytest.approx(wanted, abs=1e-12)
        if all(y[group == name].any() and not y[group == name].all() for name in names):
            wanted = metrics.equalized_odds_difference(y, predicted, sensitive_features=group)
            assert part.equalized_odds.difference == pytest.approx(wanted, abs=1e-12)
            wanted = metrics.equal_opportunity_difference(y, predicted, sensitive_features=group)
            assert part.equal_opportunity.difference == pytest.approx(wanted, abs=1e-12)

    hypothesis.settings(max_examples=60, deadline=None, database=None, derandomize=True)(
        hypothesis.given(strategies.lists(row, min_size=2, max_size=40))(check)
    )()


def test_a_class_that_a_group_lacks_is_not_known_rather_than_0() -> None:
    """A group without samples of a class has no recall: it is left out and named, where fairlearn takes it for 0."""
    y, predicted = ["a", "a", "b", "a", "a"], ["a", "b", "b", "a", "a"]
    part = group_fairness(y, predicted, ["x", "x", "x", "y", "y"], classes=["b"]).classes[0]
    assert math.isnan(part.recall[1].value)
    assert part.recall[1].interval == (0.0, 1.0)
    assert math.isnan(part.equal_opportunity.difference)
    assert math.isnan(part.equalized_odds.difference)
    assert part.equal_opportunity.unknown == ("y",)
    assert part.demographic_parity.difference == pytest.approx(2 / 3)


def test_of_three_groups_one_that_lacks_a_class_leaves_the_gap_of_the_others() -> None:
    """The gap is that of the groups that have the rate."""
    y, predicted = [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]
    part = group_fairness(y, predicted, [0, 0, 1, 1, 2, 2], classes=[1]).classes[0]
    assert part.equal_opportunity.difference == 0.5
    assert part.equal_opportunity.unknown == ("2",)


def test_a_group_of_one_has_rates_with_intervals_that_say_little() -> None:
    """Its accuracy is 0 or 1 and its interval is wide; chance explains the gap."""
    found = group_fairness([0, 1] * 10 + [1], [0, 1] * 10 + [0], ["many"] * 20 + ["one"])
    assert found.samples == (20, 1)
    assert found.accuracy[1].value == 0.0
    low, high = found.accuracy[1].interval
    assert low == 0.0
    assert high == pytest.approx(3.841458821 / 4.841458821, abs=1e-9)
    assert 0.02 < found.accuracy_gap.chance < 0.1


def test_the_chance_of_a_gap_is_that_of_fishers_exact_test() -> None:
    """For two groups of one size, a difference as large has the probability that scipy gives the table."""
    stats = pytest.importorskip("scipy.stats")
    for a, b in ((9, 4), (12, 11), (15, 6)):
        right = np.array([1] * a + [0] * (20 - a) + [1] * b + [0] * (20 - b))
        found = group_fairness(np.ones(40, int), right, [0] * 20 + [1] * 20, draws=40_000)
        wanted = stats.fisher_exact([[a, 20 - a], [b, 20 - b]]).pvalue
        assert found.accuracy_gap.chance == pytest.approx(wanted, abs=0.01)


def test_chance_is_seldom_small_where_groups_are_alike() -> None:
    """With groups by lot a gap has a chance below 5 % in at most 5 % of the draws, but for what 200 draws vary by."""
    small = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        y, predicted, group = draw.integers(0, 2, 90), draw.integers(0, 2, 90), draw.integers(0, 3, 90)
        part = group_fairness(y, predicted, group, classes=[1], draws=400, seed=seed).classes[0]
        small += part.equalized_odds.chance < 0.05
    assert small <= 17


def test_intervals_are_those_of_wilson() -> None:
    """The interval of a share equals scipy's, and is a whole one of no samples."""
    stats = pytest.importorskip("scipy.stats")
    for hits, n in ((0, 5), (3, 10), (10, 10), (50, 200)):
        wanted = stats.binomtest(hits, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(Share(hits, n).interval, (wanted.low, wanted.high), atol=1e-12)


@pytest.mark.parametrize(
    ("y", "predicted", "groups"),
    [([0, 1], [0, 1], ["a", "a"]), ([0, 1], [0], ["a", "b"]), ([], [], []), ([0, 1], [0, 1], ["a"])],
)
def test_what_is_no_comparison_is_refused(y: Any, predicted: Any, groups: Any) -> None:
    """Other lengths, no samples and a single group are errors that say so."""
    with pytest.raises(InputError, match="expected"):
        group_fairness(y, predicted, groups)


def test_a_class_that_no_sample_has_is_refused() -> None:
    """A misspelt class would look fair: nobody is predicted to be of it."""
    with pytest.raises(InputError, match=r"predicted to have, found 'catt'\. There are cat, dog"):
        group_fairness(["cat", "dog"], ["cat", "cat"], ["a", "b"], classes=["catt"])


def test_whole_numbers_are_one_class_whatever_their_type() -> None:
    """Integer truth and float predictions are compared as numbers, and so are the classes that are asked about."""
    y, predicted, group = drawn(3)
    wanted = group_fairness(y, predicted, group, draws=0, classes=[1])
    for floats in (predicted.astype(np.float64), predicted.astype(np.float32), [float(one) for one in predicted]):
        found = group_fairness(y, floats, group, draws=0, classes=[1.0])
        assert found.accuracy == wanted.accuracy
        assert found.classes[0].recall == wanted.classes[0].recall
        assert found.classes[0].label == "1"
    halves = group_fairness([0.5, 1], [0.5, 1], ["a", "b"], draws=0)
    assert [part.label for part in halves.classes] == ["0.5", "1"]


def test_booleans_are_0_and_1() -> None:
    """Truth of 0 and 1 with boolean predictions, or the other way, gives what integers throughout do."""
    y, predicted, group = drawn(3)
    wanted = group_fairness(y, predicted, group, draws=0)
    assert [part.label for part in wanted.classes] == ["0", "1"]
    for flags in (predicted.astype(bool), predicted.astype(bool).tolist()):
        assert group_fairness(y, flags, group, draws=0) == wanted
    asked = group_fairness(y.astype(bool), predicted, group, draws=0, classes=[True])
    assert asked.classes == wanted.classes[1:]


def test_bytes_are_told_to_become_text() -> None:
    """They would be shown as their literals, and equal no text."""
    for rows in (([b"x", "y"], ["x", "y"], ["a", "b"]), (["x", "y"], ["x", "y"], np.array([b"a", b"b"]))):
        with pytest.raises(InputError, match=r"as texts or numbers, found bytes: .*b'[xa]'.* Decode them first"):
            group_fairness(*rows)


@pytest.mark.parametrize("bad", [math.nan, np.float32("nan"), math.inf])
def test_labels_that_are_not_known_are_refused(bad: Any) -> None:
    """NaN is no class, no prediction and no group."""
    for rows in (([0, bad], [0, 1], ["a", "b"]), ([0, 1], [0, bad], ["a", "b"]), ([0, 1], [0, 1], [0, bad])):
        with pytest.raises(InputError, match=r"expected classes and groups, found (nan|inf)"):
            group_fairness(*rows)


def test_draws_and_seeds_below_0_are_refused() -> None:
    """As an error of the package."""
    with pytest.raises(InputError, match="a seed of 0 or more, found -1"):
        group_fairness([0, 1], [0, 1], ["a", "b"], seed=-1)
    with pytest.raises(InputError, match="draws of 0 or more, found -1"):
        group_fairness([0, 1], [0, 1], ["a", "b"], draws=-1)
