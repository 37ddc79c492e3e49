"""One adaptation on latents: classes that change, frozen ones, weights, tags, and what is said of each."""

from dataclasses import replace

import numpy as np
import pytest

from acclimate.edge.adaptation.adapt import Shipped, adapt
from acclimate.edge.adaptation.fisher import Fisher
from acclimate.edge.heads import LDA, Head, Problem, Prototype, Setting, Weights
from acclimate.errors import LabelError, NotEnoughSamplesError

from ..fixtures.worlds import HOME, Place, World, score, stored

HEADS: tuple[Head, ...] = (Prototype(), LDA())
WORLD = World(0, distance=10.0)
ELSEWHERE, MOVED = Place(0.6, 0.3), Place(1.0, 0.2)


class Recorder:
    """The nearest mean, and the problems that it was given."""

    def __init__(self) -> None:
        self.name, self.problems = "prototype", list[Problem]()

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return one setting."""
        return (Setting(self.name, 0.0, 1.0),)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Fit, and keep the problem."""
        self.problems.append(problem)
        return Prototype().solve(problem, settings)


def changed(classes: list[int]) -> Shipped:
    """Return what is shipped after classes were merged or removed."""
    return replace(WORLD.shipped(), classes=np.array(classes))


def test_equal_arguments_give_an_equal_candidate() -> None:
    """Every step is deterministic: head, predictions and judgement are the same to the bit."""
    shipped = WORLD.shipped()
    samples = stored(*WORLD.draw(60, 1, ELSEWHERE))
    first, second = (adapt(samples, shipped, shipped.predictor(), WORLD.names, HEADS) for _ in range(2))
    assert first.head.to_bytes() == second.head.to_bytes()
    assert first.judgement == second.judgement
    assert first.probe == second.probe


@pytest.mark.parametrize("seed", range(5))
def test_a_class_without_samples_follows_the_others(seed: int) -> None:
    """Where all classes moved together, nine in ten of the classes not seen are right (unmoved: eight)."""
    world = World(seed, k=8)
    shipped = world.shipped()
    samples = stored(*world.draw(150, 1, MOVED, (0, 1, 2, 3, 4)))
    found = adapt(samples, shipped, shipped.predictor(), world.names, HEADS)
    assert score(found.head, shipped, *world.draw(1_000, 2, MOVED, (5, 6, 7))) > 0.88
    assert found.unseen.tolist() == [5, 6, 7]
    assert found.probe is not None
    assert found.probe.lost == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_class_without_samples_stays_at_home(seed: int) -> None:
    """Where nothing moved, classes without samples are known as before."""
    world = World(seed, distance=10.0)
    shipped = world.shipped()
    samples = stored(*world.draw(120, 1, HOME, (0, 1, 2, 3)))
    found = adapt(samples, shipped, shipped.predictor(), world.names, HEADS)
    x, y = world.draw(1_000, 2, HOME, (4, 5))
    assert score(found.head, shipped, x, y) > 0.9


def test_merged_shipped_classes_are_one() -> None:
    """After a merge the head has one row for both, the source term counts both, and either's samples are theirs."""
    shipped = changed([0, 1, 1, 3, 4, 5])
    x, y = WORLD.draw(120, 1, ELSEWHERE)
    found = adapt(stored(x, np.where(y == 2, 1, y)), shipped, shipped.predictor(), WORLD.names, HEADS)
    assert found.head.classes.tolist() == [0, 1, 3, 4, 5]
    fresh, labels = WORLD.draw(1_000, 2, ELSEWHERE)
    assert score(found.head, shipped, fresh, np.where(labels == 2, 1, labels)) > 0.85
    assert found.probe is not None
    assert [c.name for c in found.probe.classes] == [f"class {i}" for i in (0, 1, 3, 4, 5)]


def test_a_removed_class_is_gone() -> None:
    """A removed shipped class is in no row of the head and not on the probe; the others are known as before."""
    shipped = changed([0, -1, 2, 3, 4, 5])
    x, y = WORLD.draw(120, 1, ELSEWHERE, (0, 2, 3, 4))
    found = adapt(stored(x, y), shipped, shipped.predictor(), WORLD.names, HEADS)
    assert found.head.classes.tolist() == [0, 2, 3, 4, 5]
    assert found.probe is not None
    assert "class 1" not in [c.name for c in found.probe.classes]
    assert score(found.head, shipped, *WORLD.draw(1_000, 2, ELSEWHERE, (0, 2, 3, 4, 5))) > 0.8


def test_a_class_may_be_shipped_under_another_id() -> None:
    """A shipped class merged into one that was added here takes its id, and brings its statistics along."""
    shipped = changed([7, 1, 2, 3, 4, 5])
    x, y = WORLD.draw(120, 1, HOME)
    rows = y != 0
    found = adapt(stored(x[rows], y[rows]), shipped, shipped.predictor(), WORLD.names, HEADS)
    assert found.head.classes.tolist() == [1, 2, 3, 4, 5, 7]
    fresh, labels = WORLD.draw(1_000, 2, HOME, (0,))
    assert score(found.head, shipped, fresh, labels + 7) > 0.85


def test_samples_of_a_frozen_class_are_judged_on_and_not_trained_on() -> None:
    """Wrong samples of a frozen class change no bit of the head; they still say what it does to them."""
    shipped = WORLD.shipped()
    x, y = WORLD.draw(120, 1, ELSEWHERE)
    spoilt = x.copy()
    spoilt[y == 2] = 255 - spoilt[y == 2]
    heads = [
        adapt(stored(codes, y), shipped, shipped.predictor(), WORLD.names, HEADS, frozen=frozenset({2}))
        for codes in (x, spoilt)
    ]
    assert np.array_equal(heads[0].head.layer.weight, heads[1].head.layer.weight)
    assert set(heads[0].head.judged.tolist()) == set((np.flatnonzero(y != 2) + 1).tolist())
    assert [c.samples for c in heads[0].judgement.classes] == [20] * 6
    assert heads[0].judgement.classes[2].after > 0.6
    free = adapt(stored(spoilt, y), shipped, shipped.predictor(), WORLD.names, HEADS)
    assert not np.array_equal(free.head.layer.weight, heads[0].head.layer.weight)


def test_nothing_but_frozen_samples_is_refused() -> None:
    """There is nothing to learn from, and the message says so."""
    shipped = WORLD.shipped()
    with pytest.raises(LabelError, match="not frozen"):
        adapt(stored(*WORLD.draw(12, 1)), shipped, None, WORLD.names, HEADS, frozen=frozenset(range(6)))


def test_weights_count() -> None:
    """A sample that weighs next to nothing might as well not be there, and equal weights change nothing."""
    shipped = replace(WORLD.shipped(), source=None)
    x, y = WORLD.draw(120, 1)
    wrong = np.where(np.arange(120) % 4 == 0, (y + 1) % 6, y)
    light = {int(i) + 1: 1e-6 for i in np.flatnonzero(wrong != y)}
    fresh = WORLD.draw(1_000, 2)
    args = (shipped, shipped.predictor(), WORLD.names, HEADS)
    weighed = adapt(stored(x, wrong), *args, sample_weight=light)
    plain = adapt(stored(x, wrong), *args)
    assert score(weighed.head, shipped, *fresh) > score(plain.head, shipped, *fresh) + 0.02
    equal = adapt(stored(x, wrong), *args, class_weight=dict.fromkeys(range(6), 1.0), sample_weight={1: 1.0})
    assert np.allclose(equal.head.layer.weight, plain.head.layer.weight, rtol=1e-4, atol=1e-6)


def test_one_tag_for_everything_is_no_unit() -> None:
    """Samples that all have one tag, and classes that live in one tag each, are judged all the same."""
    shipped = WORLD.shipped()
    x, y = WORLD.draw(120, 1, Place(1.0, 1.0))
    for tags in (("here",) * 120, tuple(f"box {label}" for label in y), tuple(f"person {i % 8}" for i in range(120))):
        found = adapt(stored(x, y, tags), shipped, shipped.predictor(), WORLD.names, HEADS)
        assert found.judgement.judged == 120
        assert found.judgement.verdict == "accepted"
    assert found.judgement.units == 8


def test_what_is_forgotten_is_bounded_by_what_the_caller_says() -> None:
    """With a bound the candidate is chosen among those that keep it, or rejected with the figures."""
    shipped = WORLD.shipped()
    samples = stored(*WORLD.draw(240, 1, Place(1.5, 1.5)))
    free = adapt(samples, shipped, shipped.predictor(), WORLD.names, HEADS)
    bound = adapt(samples, shipped, shipped.predictor(), WORLD.names, HEADS, max_forgetting=5.0)
    assert free.probe is not None
    assert bound.probe is not None
    assert free.judgement.verdict == "accepted"
    assert free.probe.forgotten > 5
    assert bound.probe.forgotten <= 5 or bound.judgement.reason.startswith("It forgets the source: from ")
    assert bound.probe.forgotten < free.probe.forgotten


def test_too_few_samples_are_refused() -> None:
    """One class, or fewer samples than classes, is an error that says what was found."""
    shipped = WORLD.shipped()
    x, y = WORLD.draw(5, 1)
    with pytest.raises(NotEnoughSamplesError, match=r"classes \(6\), found 5"):
        adapt(stored(x, y), shipped, None, WORLD.names, HEADS)
    with pytest.raises(LabelError, match="found one, 'class 3'"):
        adapt(stored(x, np.full(5, 3)), shipped, None, WORLD.names, HEADS)


def test_what_is_known_reaches_the_heads() -> None:
    """Source, prior, Fisher information and weights are in the problem; merged and removed classes in their places."""
    plain = changed([0, 1, 1, -1, 4, 5])
    assert plain.head is not None
    x, _ = WORLD.draw(300, 0)
    fisher = Fisher.of(x, x.mean(axis=0), plain.head, plain.code)
    head, (codes, y) = Recorder(), WORLD.draw(60, 1, HOME, (0, 1, 4, 5))
    adapt(stored(codes, y), replace(plain, fisher=fisher), None, WORLD.names, (head,), class_weight={4: 3.0})
    problem = head.problems[-1]
    assert problem.source is not None
    assert problem.prior is not None
    assert problem.fisher is not None
    assert problem.weight is not None
    assert problem.source.count.tolist() == [167, 334, 166, 166]
    assert (problem.fisher[:, -1] > 0).all()
    assert np.array_equal(problem.weight, np.where(problem.y == 2, 3.0, 1.0))
    logits = problem.prior.logits(problem.x)
    expected = plain.code.decode(codes) @ plain.head.weight[[0, 4, 5]].T + plain.head.bias[[0, 4, 5]]
    assert np.allclose(logits[:, [0, 2, 3]], expected, rtol=1e-3, atol=1e-2 * np.abs(expected).max())


def test_groups_are_held_out_together() -> None:
    """Samples of a tag are in one fold, so that none of them is predicted with the others' help."""
    x, y = WORLD.draw(120, 1)
    tags = tuple(f"person {i % 11}" for i in range(120))
    found = adapt(stored(x, y, tags), WORLD.shipped(), None, WORLD.names, HEADS)
    for tag in set(tags):
        assert len(np.unique(found.selection.fold[[t == tag for t in tags]])) == 1
