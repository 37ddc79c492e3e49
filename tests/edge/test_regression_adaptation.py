"""Adapting a regression head on planted places: what improves, what is refused, how sure it is."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from acclimate.edge.adaptation.coordinates import fit_coordinates
from acclimate.edge.regression.adaptation import RegressionCandidate, ShippedRegression, adapt
from acclimate.edge.regression.head import RegressionHead, half_width
from acclimate.edge.regression.ridge import Problem, Ridge, System
from acclimate.errors import NotEnoughSamplesError, StoreCorruptError

from .regression_world import Codes, Line, least_squares, rmse, stored


def run(
    world: Line,
    codes: Codes,
    y: np.ndarray,
    shipped: ShippedRegression | None = None,
    max_forgetting: float | None = None,
) -> RegressionCandidate:
    """Adapt the shipped head."""
    brought = world.shipped() if shipped is None else shipped
    current = None if brought.head is None else RegressionHead(brought.head)
    return adapt(stored(codes), y, brought, current, max_forgetting=max_forgetting)


@pytest.mark.parametrize(("shift", "offset"), [(3.0, 0.0), (0.0, 3.0), (3.0, 3.0)])
@pytest.mark.parametrize("n", [20, 60])
def test_a_place_that_has_moved_is_learnt(shift: float, offset: float, n: int) -> None:
    """Other light, another zero of the instrument, both: accepted, and better on samples not seen, in each world."""
    ratios, accepted = [], 0
    for seed in range(6):
        world = Line(seed)
        found = run(world, *world.draw(n, 1, shift, offset))
        accepted += found.judgement.verdict == "accepted"
        fresh, before = world.draw(500, 2, shift, offset), world.shipped().head
        assert before is not None
        ratios.append(rmse(found.head, world.code, *fresh) / rmse(before, world.code, *fresh))
    # One of the places is hardly another: there is nothing to gain.
    assert accepted >= 4
    assert max(ratios) < 1.1
    assert np.mean(ratios) < 0.75


def test_labels_that_mean_nothing_are_not_learnt() -> None:
    """Shuffled labels: predicting their mean is better than any head that knew others, and that is no reason."""
    for n in (12, 60):
        verdicts: Counter[str] = Counter()
        for seed in range(12):
            world = Line(seed)
            codes, y = world.draw(n, 1)
            found = run(world, codes, np.random.default_rng(seed).permutation(y))
            verdicts[found.judgement.verdict] += 1
        assert verdicts["accepted"] <= 2, (n, verdicts)
        assert verdicts["rejected"] >= 8, (n, verdicts)


def test_low_rank_statistics_are_solved_in_full() -> None:
    """Few samples in few coordinates: what the source says of the targets is in them, and nothing is lost."""
    world = Line(d=60)
    codes, y = world.draw(5, 1)
    shipped = world.shipped(rank=10)
    assert shipped.source is not None
    assert shipped.source.codes.factor is not None
    found = adapt(stored(codes), y, shipped, None, Ridge(0.01, 1.0)).head.layer
    narrow = fit_coordinates(codes, shipped.source.codes, shipped.head, world.code)
    assert narrow.width < 60
    whole = replace(narrow, basis=None)
    problem = Problem(whole.of(codes), y, np.ones(5), np.arange(5), shipped.source.moments(whole))
    (weights,) = System.of(problem, 1.0).solve("none", [0.01])
    expected = whole.layer(weights, world.code).weight
    np.testing.assert_allclose(found.weight, expected, atol=1e-4 * np.abs(expected).max())


def test_at_home_it_does_not_get_worse() -> None:
    """Samples of the source's own kind: whatever is decided, the head in use afterwards is as good as before."""
    for seed in range(5):
        world = Line(seed)
        shipped = world.shipped().head
        assert shipped is not None
        found = run(world, *world.draw(20, 1))
        used = found.head if found.judgement.verdict == "accepted" else shipped
        fresh = world.draw(500, 2)
        assert rmse(used, world.code, *fresh) < 1.05 * rmse(shipped, world.code, *fresh)


def test_the_source_helps_where_samples_are_few() -> None:
    """With head and statistics the error on fresh samples is well below what the samples alone give."""
    alone, joint = [], []
    for seed in range(8):
        world = Line(seed)
        codes, y = world.draw(10, 1, offset=1.0)
        fresh = world.draw(500, 2, offset=1.0)
        bare = replace(world.shipped(), head=None, source=None)
        alone.append(rmse(run(world, codes, y, bare).head, world.code, *fresh))
        joint.append(rmse(run(world, codes, y).head, world.code, *fresh))
    assert np.mean(joint) < 0.7 * np.mean(alone)


def test_the_interval_covers_what_it_says() -> None:
    """Nine of ten fresh samples, over 20 worlds, within three standard errors."""
    covered = []
    for seed in range(20):
        world = Line(seed)
        found = run(world, *world.draw(60, 1, offset=2.0)).head
        codes, y = world.draw(400, 2, offset=2.0)
        covered.append(float((np.abs(found.values(world.code.decode(codes)) - y) <= found.interval).mean()))
    assert abs(np.mean(covered) - 0.9) < 3 * np.std(covered) / np.sqrt(20) + 0.01


def test_eight_samples_give_no_interval() -> None:
    """Nine are needed for nine of ten; units count, not frames."""
    y, units = np.arange(9.0)[:, None], np.arange(9)
    assert len(half_width(y[:8], y[:8] + 1, units[:8])) == 0
    np.testing.assert_array_equal(half_width(y, y + 1, units), [1])
    assert len(half_width(y, y + 1, np.minimum(units, 7))) == 0


def test_a_bound_on_what_is_forgotten_is_kept() -> None:
    """Where all that can be learnt here contradicts the source, a strict bound rejects it; a lax one does not."""
    world = Line()
    codes, y = world.draw(60, 1)
    assert run(world, codes, -y, max_forgetting=1.0).judgement.verdict == "accepted"
    strict = run(world, codes, -y, max_forgetting=0.05)
    assert strict.judgement.verdict == "rejected"
    assert strict.source is not None
    assert "forgets the source" in strict.judgement.reason
    # Half of it is true: what keeps the source is chosen, though it is not what fits best.
    mixed = y.copy()
    mixed[:, 0] += 0.3 * (codes[:, 0] - 128.0) / 15
    free, bound = (run(world, codes, mixed, max_forgetting=most).source for most in (1.0, 0.05))
    assert free is not None
    assert bound is not None
    assert free[0] - free[1] > 0.05 >= bound[0] - bound[1]


def test_samples_weigh_what_they_are_said_to() -> None:
    """A weight of a thousandth for samples of another kind is nearly as good as leaving them out."""
    world = Line()
    (codes, y), (others, wrong) = world.draw(40, 1, offset=1.0), world.draw(10, 3)
    both, labels = np.vstack([codes, others]), np.vstack([y, -wrong])
    weights = dict.fromkeys(range(41, 51), 1e-3)
    light = adapt(stored(both), labels, world.shipped(), None, sample_weight=weights)
    heavy = adapt(stored(both), labels, world.shipped(), None)
    fresh = world.draw(500, 2, offset=1.0)
    assert rmse(light.head, world.code, *fresh) < rmse(heavy.head, world.code, *fresh)
    assert light.after.rmse < heavy.after.rmse


def test_a_successor_is_judged_without_what_the_head_in_use_was_fitted_on() -> None:
    """The head in use is asked for its held-out predictions, not for those of samples that it has seen."""
    world = Line()
    codes, y = world.draw(30, 1, offset=1.0)
    first = run(world, codes, y)
    held = first.head.held_out(np.arange(1, 32), world.code.decode(np.vstack([codes, codes[:1]])))
    np.testing.assert_allclose(held[:30], first.choice.predicted, rtol=1e-6)
    np.testing.assert_allclose(held[30], first.head.values(world.code.decode(codes[:1]))[0], rtol=1e-6)
    again = adapt(stored(codes), y, world.shipped(), first.head)
    assert again.judgement.verdict != "accepted"


def test_tags_are_held_out_together() -> None:
    """Of samples with five tags or more, the units of evidence are the tags."""
    world = Line()
    codes, y = world.draw(60, 1)
    found = adapt(stored(codes, tuple(f"rig {i % 6}" for i in range(60))), y, world.shipped(), None)
    assert found.judgement.units == 6


def test_equal_samples_give_equal_heads() -> None:
    """Bit for bit."""
    world = Line(t=2)
    codes, y = world.draw(25, 1, 1.0)
    assert run(world, codes, y).head.to_bytes() == run(world, codes, y).head.to_bytes()


def test_targets_of_any_size_can_be_learnt() -> None:
    """A target around -1e10 is no class that is never predicted."""
    world = Line()
    codes, y = world.draw(40, 1)
    found = adapt(stored(codes), 1e6 * y - 1e10, replace(world.shipped(), head=None, source=None), None)
    assert found.after.r2[0] > 0.5
    assert found.head.layer.bias[0] < -1e9


def test_two_samples_are_too_few() -> None:
    """The message says how many it takes."""
    world = Line()
    with pytest.raises(NotEnoughSamplesError, match="at least 3 samples with a label, found 2"):
        run(world, *world.draw(2, 1))


def test_a_head_survives_its_bytes_and_nothing_else_does() -> None:
    """What was stored comes back; other widths, numbers of targets and damaged bytes are refused."""
    world = Line(t=2)
    head = run(world, *world.draw(20, 1)).head
    again = RegressionHead.from_bytes(head.to_bytes(), 24, 2, "here")
    assert again.to_bytes() == head.to_bytes()
    odd = replace(head, interval=np.ones(1, np.float32))
    for content, width, targets in (
        (head.to_bytes(), 23, 2),
        (head.to_bytes(), 24, 1),
        (head.to_bytes()[:-1], 24, 2),
        (odd.to_bytes(), 24, 2),
    ):
        with pytest.raises(StoreCorruptError, match="Restore the store"):
            RegressionHead.from_bytes(content, width, targets, "here")


def test_the_reference_is_least_squares() -> None:
    """What the tests ship is exact on a noiseless line."""
    world = Line(noise=0.0)
    codes, y = world.draw(200, 1)
    assert rmse(least_squares(world.code.decode(codes), y), world.code, codes, y) < 0.05
