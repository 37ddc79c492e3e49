"""Aligning without labels: what it finds in Gaussian worlds, what it refuses, and that folding is exact."""

from dataclasses import replace

import numpy as np
import pytest
from tests.fixtures.worlds import HOME, Place, World, score

from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.alignment.align import Alignment, align
from acclimate.edge.alignment.evidence import Evidence, lower_bound, variety, weigh, worth
from acclimate.edge.alignment.label_balance import rebalance
from acclimate.edge.alignment.mixture import Mixture, place
from acclimate.edge.alignment.report import Method
from acclimate.edge.alignment.space import head_space
from acclimate.edge.alignment.ways import coral, fit_ways, none
from acclimate.edge.statistics import SourceStatistics
from acclimate.errors import InputError

FAR = Place(0.6, 0.3)
METHODS: tuple[Method, ...] = ("auto", "coral", "prototypes")


def aligned(world: World, n: int, where: Place, method: Method = "auto") -> Alignment:
    codes, _ = world.draw(n, 1, where)
    return align(world.shipped(), codes, np.arange(n), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_place_that_has_moved(method: Method) -> None:
    """Where all classes have moved, most of what is lost is won back without a label, and nothing speaks against it."""
    for seed in range(3):
        world = World(seed)
        found, fresh = aligned(world, 100, FAR, method), world.draw(1_000, 2, FAR)
        before = score(world.shipped().predictor(), world.shipped(), *fresh)
        after = score(found.head, world.shipped(), *fresh)
        assert found.evidence.against is None
        assert after > before + 0.5 * (1 - before)


def test_what_passes_is_hardly_ever_worse() -> None:
    """Near and far, with classes in another mix, what passes gains in the mean and never costs a point."""
    gains = []
    for seed in range(12):
        world, rng = World(seed), np.random.default_rng(seed)
        shipped = world.shipped()
        for where in (Place(0.3, 0.3), FAR):
            codes, y = world.draw(300, 1, where)
            share = rng.dirichlet(np.ones(world.k))[y]
            rows = rng.choice(300, 60, replace=False, p=share / share.sum())
            found = align(shipped, codes[rows], np.arange(60), "auto")
            if found.evidence.against is None:
                fresh = world.draw(600, 2, where)
                gains.append(score(found.head, shipped, *fresh) - score(shipped.predictor(), shipped, *fresh))
    assert len(gains) >= 5
    assert min(gains) > -0.01
    assert np.mean(gains) > 0.05


def test_what_cannot_be_told_is_refused() -> None:
    """Where each class has gone its own way and their mix is another, ways of aligning disagree, and none is taken."""
    refused = 0
    for seed in range(6):
        world, rng = World(seed), np.random.default_rng((seed, 5))
        codes, y = world.draw(300, 1, Place(0.0, 2.0))
        share = rng.dirichlet(np.full(world.k, 0.5))[y]
        rows = rng.choice(300, 60, replace=False, p=share / share.sum())
        refused += align(world.shipped(), codes[rows], np.arange(60), "auto").evidence.against is not None
    assert refused >= 5


def test_at_home_nothing_is_gained() -> None:
    """Samples of the source are explained no better by any alignment, whatever the mix of their classes."""
    for seed in range(6):
        world = World(seed)
        codes, _ = world.draw(80, 1, HOME, classes=None if seed % 2 else (0, 1, 1, 1, 2))
        against = align(world.shipped(), codes, np.arange(80), "auto").evidence.against
        assert against is not None
        assert "no better" in against


def test_folding_is_exact() -> None:
    """The folded layer gives the logits of the aligned head in its own space, but for what all classes share."""
    world = World(4)
    shipped = world.shipped()
    codes, _ = world.draw(60, 1, FAR)
    space = head_space(shipped)
    for way in [none(space), *fit_ways(space, space.of(codes)).values()]:
        layer = space.fold(way.weight, way.bias, shipped.code)
        latents = shipped.code.decode(codes).astype(np.float64)
        logits = latents @ layer.weight.T.astype(np.float64) + layer.bias
        wanted = way.logits(space.of(codes))
        apart = (logits - logits.mean(axis=1, keepdims=True)) - (wanted - wanted.mean(axis=1, keepdims=True))
        assert np.abs(apart).max() < 1e-5 * np.abs(wanted).max()
    same = space.fold(space.weight, space.bias, shipped.code)
    assert shipped.head is not None
    np.testing.assert_array_equal(same.weight, shipped.head.weight)


def test_the_space_whitens_the_source() -> None:
    """The source's covariance within its classes is the identity there, from the whole moment and from its factor."""
    world = World(1)
    codes, y = world.draw(1_000, 0)
    for rank in (None, world.d):
        space = head_space(world.shipped(rank=rank))
        u = space.of(codes)
        apart = u - np.stack([u[y == c].mean(axis=0) for c in range(world.k)])[y]
        np.testing.assert_allclose(apart.T @ apart / (1_000 - world.k), np.eye(u.shape[1]), atol=1e-2)


def test_coral_maps_moments() -> None:
    """Of many samples, the mapped ones have mean and covariance of the source with the same mix of classes."""
    rng = np.random.default_rng(0)
    home = Mixture(rng.normal(size=(3, 4)) * 3, np.full(3, 1 / 3))
    u = rng.normal(size=(40_000, 4)) @ (np.eye(4) + 0.2 * rng.normal(size=(4, 4))) + 5
    matrix, offset = coral(u, home, np.array([0.2, 0.3, 0.5]))
    there = u @ matrix.T + offset
    mean = np.array([0.2, 0.3, 0.5]) @ home.mean
    apart = home.mean - mean
    np.testing.assert_allclose(there.mean(axis=0), mean, atol=1e-9)
    np.testing.assert_allclose(np.cov(there.T), np.eye(4) + (apart.T * [0.2, 0.3, 0.5]) @ apart, rtol=1e-2, atol=1e-2)


def test_the_mixture_finds_step_mix_and_size() -> None:
    """A common step, the mix of classes, the size of the covariance and own steps are found."""
    rng = np.random.default_rng(1)
    home = Mixture(rng.normal(size=(4, 3)) * 6, np.full(4, 0.25))
    prior, step = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, -2.0, 0.5])
    y = rng.choice(4, 20_000, p=prior)
    u = home.mean[y] + step + 1.5 * rng.normal(size=(20_000, 3))
    found, moved, steps = place(u, home)
    np.testing.assert_allclose(moved, step, atol=0.05)
    np.testing.assert_allclose(found.prior, prior, atol=0.01)
    assert found.variance == pytest.approx(2.25, rel=0.02)
    assert not steps.any()
    own = np.eye(4, 3)
    found, _, _ = place(u + own[y], home, apart=True)
    np.testing.assert_allclose(found.mean, home.mean + step + own, atol=0.1)


def test_the_density_is_a_density() -> None:
    """Logarithms of densities are those of the Gaussian mixture, as numpy adds them up plainly."""
    rng = np.random.default_rng(2)
    mixture, u = Mixture(rng.normal(size=(3, 2)), np.array([0.2, 0.5, 0.3]), 0.7), rng.normal(size=(5, 2))
    each = np.exp(-((u[:, None] - mixture.mean) ** 2).sum(axis=2) / 1.4) / (2 * np.pi * 0.7) * mixture.prior
    share, density = mixture.look(u)
    np.testing.assert_allclose(density, np.log(each.sum(axis=1)))
    np.testing.assert_allclose(share, each / each.sum(axis=1, keepdims=True))


def test_groups_are_one_piece_of_evidence() -> None:
    """The bound asks each group once, and is that of Student's t: a sample told ten times says no more than once."""
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    once = lower_bound(values, np.arange(12))
    assert lower_bound(np.repeat(values, 10), np.repeat(np.arange(12), 10)) == pytest.approx(once)
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    wanted = values.mean() - stats.t.ppf(0.95, 11) * values.std(ddof=1) / 12**0.5
    assert once[1] == pytest.approx(wanted, abs=2e-3)
    assert lower_bound(values, np.zeros(12, np.int64))[1] == -np.inf


GOOD = Evidence(1.0, 0.5, 0.9, 0.05, -0.005, 0.2, 0.5, 1.0, 3.5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"distance": 5.0}, "look whether the sensor works"),
        ({"kept": 0.3}, "variety"),
        ({"variety": 1.0}, "all samples for one class"),
        ({"low": 0.0}, "no better"),
        ({"low": float("nan")}, "no better"),
        ({"agreement": 0.7}, "agree on 70 %"),
        ({"gain": 0.0}, "gains nothing"),
        ({"gain_low": -0.02}, "cost more than it gains"),
        ({"gain_low": float("nan")}, "cost more than it gains"),
    ],
)
def test_each_doubt_is_enough(change: dict[str, float], match: str) -> None:
    """One thing that speaks against an alignment refuses it, and says what."""
    assert GOOD.against is None
    assert match in str(replace(GOOD, **change).against)


def test_worth_is_the_accuracy_gained() -> None:
    """Where probabilities are the truth, the worths add up to the class-balanced accuracy that is gained."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [3_000, 600, 60])
    before, after = (np.where(rng.random(len(y)) < right, y, rng.integers(0, 3, len(y))) for right in (0.5, 0.8))
    gained = [np.mean((after == y)[y == c]) - np.mean((before == y)[y == c]) for c in range(3)]
    found = worth(np.eye(3)[y], before, after, np.arange(len(y)))
    assert found.mean() == pytest.approx(np.mean(gained), rel=0.02)
    repeated, groups = np.repeat(np.arange(len(y)), 4), np.repeat(np.arange(len(y)), 4)
    again = worth(np.eye(3)[y[repeated]], before[repeated], after[repeated], groups)
    np.testing.assert_allclose(again[::4], found)


def test_every_way_has_a_say_on_the_gain() -> None:
    """What is gained is gained whichever way is right: one way by which the shipped head was right takes it all."""
    world = World(0)
    shipped, (codes, _) = world.shipped(), world.draw(100, 1, FAR)
    space, groups = head_space(shipped), np.arange(100)
    u = space.of(codes)
    ways = fit_ways(space, u)
    found = weigh(space, u, ways, ("prototypes",), ways["coral"], groups)
    assert found.gain > found.gain_low > 0
    assert found.against is None
    doubted = weigh(space, u, {**ways, "shift": none(space)}, ("prototypes",), ways["coral"], groups)
    assert doubted.gain < 0
    assert "gains nothing" in str(doubted.against)


def test_units_count_in_the_gain() -> None:
    """The same samples as ten units say less for certain than as a hundred."""
    world = World(1)
    shipped, (codes, _) = world.shipped(), world.draw(100, 1, FAR)
    many, few = (align(shipped, codes, groups, "auto").evidence for groups in (np.arange(100), np.arange(100) % 10))
    assert few.gain_low < many.gain_low


def test_what_comes_in_sets_counts_once() -> None:
    """The same samples, one class after the other, are as many occasions as classes, whether tagged or not."""
    world = World(1)
    shipped, (codes, y) = world.shipped(), world.draw(120, 1, FAR)
    order = np.argsort(y, kind="stable")
    mixed, sets = (align(shipped, rows, np.arange(120), "auto").evidence for rows in (codes, codes[order]))
    assert mixed.against is None
    assert sets.changed == mixed.changed
    assert sets.gain_low < mixed.gain_low
    assert sets.low < mixed.low


def test_variety() -> None:
    """Four classes alike often are four, and one is one."""
    assert variety(np.arange(8) % 4) == pytest.approx(4)
    assert variety(np.zeros(5, np.int64)) == pytest.approx(1)


def test_removed_and_merged_classes() -> None:
    """Removed classes take no part; of merged ones the rows stay, and their probabilities are added up."""
    world = World(2)
    shipped = world.shipped()
    classes = np.array([0, 1, 2, 3, -1, 3])
    codes, _ = world.draw(120, 1, FAR, classes=(0, 1, 2, 3, 5))
    found = align(replace(shipped, classes=classes), codes, np.arange(120), "auto")
    assert found.head.classes.tolist() == [0, 1, 2, 3, 5]
    assert found.classes.tolist() == [0, 1, 2, 3, 3]
    head = found.head.present({i: int(c) for i, c in enumerate(classes) if c >= 0})
    fresh, truth = world.draw(1_000, 2, FAR, classes=(0, 1, 2, 3, 5))
    assert score(head, shipped, fresh, np.where(truth == 5, 3, truth)) > 0.9


def other(shipped: Shipped, **changes: object) -> Shipped:
    return replace(shipped, **changes)  # type: ignore[arg-type]  # fields of any kind


def test_what_says_too_little_of_the_source() -> None:
    """No head, no statistics, none of a class, one class, or no spread: each is told by its name."""
    world = World(0)
    whole = world.shipped()
    assert whole.source is not None
    assert whole.head is not None
    silent = SourceStatistics(
        whole.source.count * np.array([0, 1, 1, 1, 1, 1]), whole.source.sum, whole.source.moment, None, None
    )
    flat = LinearLayer(np.zeros_like(whole.head.weight), whole.head.bias)
    cases = (
        (other(whole, head=None), "without a head"),
        (other(whole, source=None), "without source statistics"),
        (other(whole, source=silent), "of every class"),
        (other(whole, classes=np.array([0, 0, 0, -1, -1, -1])), "at least two shipped classes"),
        (other(whole, head=flat), "spread"),
    )
    for shipped, match in cases:
        with pytest.raises(InputError, match=match):
            head_space(shipped)


def test_samples_all_alike() -> None:
    """A stuck sensor gives finite numbers, and is refused."""
    world = World(0)
    codes = np.repeat(world.draw(1, 1)[0], 40, axis=0)
    found = align(world.shipped(), codes, np.arange(40), "auto")
    assert np.isfinite(found.head.layer.weight).all()
    assert found.evidence.against is not None


def test_biases_follow_the_mix() -> None:
    """With classes in another mix, biases alone change, and samples as they come are classified better."""
    world = World(3, distance=3.0)
    shipped = world.shipped()
    mix = (0, 0, 0, 0, 0, 0, 1, 2)
    codes, _ = world.draw(300, 1, HOME, classes=mix)
    found = rebalance(shipped, codes, np.arange(300))
    assert found.against is None
    assert shipped.head is not None
    np.testing.assert_array_equal(found.head.layer.weight, shipped.head.weight)
    fresh, y = world.draw(2_000, 2, HOME, classes=mix)
    latents, current = shipped.code.decode(fresh), shipped.predictor()
    assert current is not None
    before, after = (np.mean(head.probabilities(latents).argmax(axis=1) == y) for head in (current, found.head))
    assert after > before + 0.02
    same = rebalance(shipped, world.draw(300, 1, HOME)[0], np.arange(300))
    assert same.against is not None
