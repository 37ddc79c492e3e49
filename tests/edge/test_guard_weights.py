"""The guard with weights: they say which mistakes matter, and promise no more than the evidence holds."""

import numpy as np
import pytest

from acclimate.edge.adaptation.adapt import adapt
from acclimate.edge.adaptation.guard import RISK, judge
from acclimate.edge.adaptation.trial import balanced_accuracy
from acclimate.edge.heads import LDA

from ..fixtures.worlds import Place, World, stored

ALL = np.ones(2, np.bool_)


def random_case(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, predictions of two heads that are right equally often, and groups."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    candidate, current = (np.where(rng.random(n) < 0.7, y, 1 - y) for _ in range(2))
    return y, candidate, current, np.arange(n) // 2


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e12])
def test_equal_weights_are_none(scale: float) -> None:
    """Whatever they are, the judgement is that without, but for the words."""
    for seed in range(20):
        y, candidate, current, groups = random_case(seed)
        plain = judge(y, candidate, current, ALL, groups)
        found = judge(y, candidate, current, ALL, groups, weight=np.full(len(y), scale))
        assert (found.verdict, found.gained, found.lost, found.units) == (
            plain.verdict,
            plain.gained,
            plain.lost,
            plain.units,
        )
        assert (found.gain, found.low, found.high) == pytest.approx((plain.gain, plain.low, plain.high))
        assert [c.after for c in found.classes] == pytest.approx([c.after for c in plain.classes])


def test_mistakes_that_matter_decide() -> None:
    """Ten samples gained and ten lost are no evidence; where those gained weigh ten times as much, they are."""
    y = np.tile([0, 1], 20)
    current, candidate = y.copy(), y.copy()
    current[:10], candidate[10:20] = 1 - y[:10], 1 - y[10:20]
    weight = np.where(np.arange(40) < 10, 10.0, 1.0)
    assert judge(y, candidate, current, ALL).verdict == "insufficient"
    for_it = judge(y, candidate, current, ALL, weight=weight)
    assert for_it.verdict == "accepted"
    assert for_it.gain == pytest.approx(100 * (100 - 10) / 130)
    assert "points by the weights given" in for_it.reason
    assert judge(y, current, candidate, ALL, weight=weight).verdict == "rejected"


def test_a_class_that_hardly_matters_gives_way_and_one_that_does_not_does_not() -> None:
    """What a class loses may be made good by another only as far as it weighs less."""
    y = np.repeat([0, 1], 30)
    current, candidate = y.copy(), y.copy()
    current[:15] = 1
    candidate[30:35] = 0
    assert judge(y, candidate, current, ALL).verdict == "accepted"
    matters = np.where(y == 1, 10.0, 1.0)
    found = judge(y, candidate, current, ALL, weight=matters)
    assert found.verdict == "rejected"
    assert found.gain == pytest.approx(100 * (15 / 30 - 10 * 5 / 30) / 11)
    assert judge(y, candidate, current, ALL, weight=11 - matters).verdict == "accepted"


def test_harm_to_a_class_is_weighed_within_it() -> None:
    """Seven of a class lost and one gained are harm; where one of each has nearly all weight, chance explains it."""
    y = np.repeat([0, 1], [40, 14])
    current, candidate = y.copy(), y.copy()
    current[:20] = 2
    candidate[40:47], current[47] = 2, 2
    known, weight = np.ones(3, np.bool_), np.ones(54)
    assert judge(y, candidate, current, known, weight=weight + (y == 1)).reason.startswith("It harms 1")
    weight[40], weight[47] = 20, 15
    found = judge(y, candidate, current, known, weight=weight)
    assert "harms" not in found.reason
    assert found.classes[1].before - found.classes[1].after == pytest.approx((20 + 6 - 15) / (12 + 35))


def test_the_risk_of_harm_is_divided_by_weight() -> None:
    """Four samples lost and none gained are chance in one class of ten, and harm in one that is nearly all."""
    y = np.repeat(np.arange(10), 20)
    current, candidate = y.copy(), y.copy()
    current[20:60], candidate[:4] = 9, 3
    known = np.ones(10, np.bool_)
    assert judge(y, candidate, current, known).verdict == "accepted"
    about = np.where(y == 0, 100.0, 1.0)
    assert judge(y, candidate, current, known, weight=about).reason.startswith("It harms 0")


def test_one_heavy_sample_is_one_piece_of_evidence() -> None:
    """However much a sample weighs, it cannot carry a candidate alone; nor do numbers run out."""
    y = np.zeros(30, np.int64)
    current = y.copy()
    current[0] = 1
    for heavy in (1e3, 1e12):
        weight = np.where(np.arange(30) == 0, heavy, 1 / heavy)
        found = judge(y, y, current, ALL, weight=weight)
        assert found.verdict == "insufficient"
        assert found.gain > 99
        assert found.low < 0


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_an_equal_candidate_is_seldom_accepted_whatever_the_weights(spread: float) -> None:
    """Of 300 candidates exactly as good as the current head, the share accepted is the risk, up to three errors."""
    accepted = []
    for seed in range(300):
        y, candidate, current, _ = random_case(seed)
        weight = np.random.default_rng((1, seed)).lognormal(0, spread, len(y))
        accepted.append(judge(y, candidate, current, ALL, weight=weight).verdict == "accepted")
    assert 0 < np.mean(accepted) <= RISK + 3 * (RISK * (1 - RISK) / 300) ** 0.5


def test_a_bound_holds_whatever_the_weights() -> None:
    """The true gain of a better candidate is below the lower bound no more often than the risk, up to three errors."""
    missed = []
    for seed in range(300):
        rng = np.random.default_rng((2, seed))
        y = np.zeros(40, np.int64)
        candidate, current = ((rng.random(40) > right).astype(np.int64) for right in (0.8, 0.6))
        found = judge(y, candidate, current, ALL, weight=rng.lognormal(0, 1, 40))
        missed.append((found.low > 20, found.high < 20))
    assert (np.mean(missed, axis=0) <= RISK + 3 * (RISK * (1 - RISK) / 300) ** 0.5).all()


def test_weighed_accuracy_is_that_of_repeated_samples() -> None:
    """Within a class a weight of two is the sample twice; a class counts by its mean weight."""
    y, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    weight = np.array([1.0, 2.0, 3.0, 4.0, 4.0])
    assert balanced_accuracy(y, predicted) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert balanced_accuracy(y, predicted, weight) == pytest.approx((2 * 3 / 6 + 4 * 1 / 2) / (2 + 4))
    assert np.isnan(balanced_accuracy(y[:0], predicted[:0]))


def test_weighed_accuracy_is_never_above_one() -> None:
    """However weights round, all right is one."""
    for n in range(1, 200):
        y = np.arange(n) % 7
        assert balanced_accuracy(y, y) == 1
        assert 1 - 1e-12 < balanced_accuracy(y, y, np.full(n, 0.1)) <= 1


def test_samples_that_weigh_nothing_do_not_judge() -> None:
    """A batch of wrong labels hides what a head gains here; the same batch with hardly any weight does not."""
    world = World(0, distance=12.0)
    shipped = world.shipped()
    x, y = world.draw(180, 1, Place(2.0, 1.0))
    wrong = np.arange(180) < 60
    samples = stored(x, np.where(wrong, (y + 1) % world.k, y))
    weights = {int(i): 1e-3 for i in samples.ids[wrong]}
    current = shipped.predictor()
    plain = adapt(samples, shipped, current, world.names, (LDA(),))
    found = adapt(samples, shipped, current, world.names, (LDA(),), sample_weight=weights)
    honest = adapt(stored(x[~wrong], y[~wrong]), shipped, current, world.names, (LDA(),))
    assert plain.after < honest.after - 0.2
    assert found.after == pytest.approx(honest.after, abs=0.03)
    assert found.before == pytest.approx(honest.before, abs=0.01)
    assert found.judgement.gain == pytest.approx(honest.judgement.gain, abs=3)
    assert abs(found.judgement.gain - plain.judgement.gain) > 5
