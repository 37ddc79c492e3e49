"""What every head must do, whichever it is: one suite over `HEADS`, so that a new head gets its tests for free."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from acclimate.edge.heads import ABSENT, HEADS, Head, Problem, Setting, SourceTerm, Weights

Blobs = Callable[..., Any]


@pytest.fixture(params=HEADS, ids=lambda head: head.name)
def head(request: pytest.FixtureRequest) -> Head:
    """Return each head in turn."""
    chosen: Head = request.param
    return chosen


def solved(head: Head, problem: Problem) -> list[Weights]:
    """Fit every setting that the head offers."""
    return head.solve(problem, head.settings(problem))


def assert_close(found: list[Weights], expected: list[Weights], tolerance: float) -> None:
    """Assert that heads agree within a share of their greatest weight, up to one number added to every bias.

    A number common to all classes changes no probability, and nothing but the path of the solver determines it.
    """
    for a, b in zip(found, expected, strict=True):
        present = b.bias > ABSENT
        assert ((a.bias > ABSENT) == present).all()
        for x, y in ((a.weight, b.weight), (centred(a.bias[present]), centred(b.bias[present]))):
            scale = max(1.0, float(np.abs(y).max()))
            np.testing.assert_allclose(x / scale, y / scale, rtol=0, atol=tolerance)


def centred(bias: np.ndarray) -> np.ndarray:
    """Return numbers less their mean."""
    result: np.ndarray = bias - bias.mean()
    return result


def renamed(problem: Problem, order: np.ndarray) -> Problem:
    """Return the problem with class ``c`` called ``order[c]``."""
    back = np.argsort(order)
    source, prior = problem.source, problem.prior
    return Problem(
        problem.x,
        order[problem.y],
        problem.k,
        source and SourceTerm(source.count[back], source.mean[back], source.scatter),
        prior and Weights(prior.weight[back], prior.bias[back]),
        problem.weight,
    )


@pytest.mark.parametrize("draft", [False, True])
def test_equal_problems_give_equal_weights(head: Head, blobs: Blobs, draft: bool) -> None:
    """Fitting twice gives the same bits."""
    problem = blobs().full(40)
    runs = [head.solve(problem, head.settings(problem), draft=draft) for _ in range(2)]
    for a, b in zip(*runs, strict=True):
        assert a.weight.tobytes() == b.weight.tobytes()
        assert a.bias.tobytes() == b.bias.tobytes()


def test_the_order_of_samples_does_not_matter(head: Head, blobs: Blobs) -> None:
    """Shuffled samples give the same head."""
    problem = blobs().full(40)
    shuffled = problem.subset(np.random.default_rng(0).permutation(40))
    assert_close(solved(head, shuffled), solved(head, problem), 1e-8)


def test_the_names_of_classes_do_not_matter(head: Head, blobs: Blobs) -> None:
    """Renaming classes permutes the rows of the head and changes nothing else."""
    problem, order = blobs(k=4).full(50), np.array([2, 0, 3, 1])
    problem = replace(problem, weight=np.random.default_rng(0).uniform(0.5, 2, 50))
    expected = [Weights(w.weight[np.argsort(order)], w.bias[np.argsort(order)]) for w in solved(head, problem)]
    assert_close(solved(head, renamed(problem, order)), expected, 1e-8)


def test_a_class_that_nothing_shows_is_absent(head: Head, blobs: Blobs) -> None:
    """A class with neither samples nor source has bias `ABSENT` and is never predicted."""
    known = blobs(k=3).full(40)
    count, mean = np.append(known.source.count, 0), np.vstack([known.source.mean, np.zeros(5)])
    problem = Problem(known.x, known.y, 4, SourceTerm(count, mean, known.source.scatter))
    for weights in solved(head, problem):
        assert weights.bias[3] == ABSENT
        assert not weights.weight[3].any()
        assert (weights.logits(known.x * 100).argmax(axis=1) != 3).all()
        assert (weights.bias[:3] > ABSENT / 2).all()


def test_a_class_that_only_the_source_shows_is_kept(head: Head, blobs: Blobs) -> None:
    """With weight on the source, or drawn to the shipped head, a class without local samples is still predicted."""
    world = blobs(k=4, apart=4.0)
    whole = world.full(80, 200)
    prior = Weights(2 * whole.source.mean, -(whole.source.mean**2).sum(axis=1))
    problem = replace(whole.subset(whole.y != 3), prior=prior)
    x, y = world.draw(80, 9)
    kept = [s for s in head.settings(problem) if s.source_weight > 0 or s.prior == "shipped"]
    assert kept
    assert np.mean([(w.logits(x[y == 3]).argmax(axis=1) == 3).mean() for w in head.solve(problem, tuple(kept))]) > 0.8


def one_a_class(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the first sample of each class."""
    rows = np.unique(y, return_index=True)[1]
    return x[rows], y[rows]


DEGENERATE: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "one sample a class": one_a_class,
    "constant features": lambda x, y: (x * np.array([1.0, 0, 1, 0, 1]), y),
    "every sample the same": lambda x, y: (np.zeros_like(x), y),
    "duplicate rows": lambda x, y: (np.tile(x[:6], (4, 1)), np.tile(y[:6], 4)),
    "one row in two classes": lambda x, y: (np.repeat(x[:1], len(x), axis=0), y),
    "fewer samples than dimensions": lambda x, y: (np.tile(x, (1, 20)), y),
    "dependent features": lambda x, y: (np.hstack([x, x, x @ np.ones((5, 1))]), y),
    "one class in the majority": lambda x, y: (np.append(x, [x[0]] * 300, axis=0), np.append(y, [y[0]] * 300)),
    "one class alone": lambda x, y: (x[y == 1], y[y == 1]),
}


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_samples_give_finite_heads(head: Head, blobs: Blobs, case: str, draft: bool) -> None:
    """Neither too few samples nor features without information lead to NaN, infinity or a warning."""
    x, y = DEGENERATE[case](*blobs().draw(24, 1))
    problem = Problem(x, y, 3)
    for weights in head.solve(problem, head.settings(problem), draft=draft):
        assert np.isfinite(weights.weight).all()
        assert np.isfinite(weights.bias).all()
        assert (weights.bias[np.unique(y)] > ABSENT / 2).all()


@pytest.mark.parametrize(("n", "m"), [(60, 4), (12, 40)])
def test_separable_classes_are_learnt(head: Head, blobs: Blobs, n: int, m: int) -> None:
    """Classes that lie far apart are told apart at every setting, with more and with fewer samples than dimensions."""
    world = blobs(m=m, apart=8.0)
    problem = world.problem(n)
    x, y = world.draw(90, 5)
    for weights in solved(head, problem):
        assert (weights.logits(problem.x).argmax(axis=1) == problem.y).all()
        assert (weights.logits(x).argmax(axis=1) == y).mean() > 0.97


def test_source_weight_zero_is_no_source(head: Head, blobs: Blobs) -> None:
    """At source weight 0 the source does not exist."""
    problem = replace(blobs().full(40), prior=None)
    settings = tuple(s for s in head.settings(problem) if s.source_weight == 0)
    alone = replace(problem, source=None)
    assert settings == head.settings(alone)
    assert_close(head.solve(problem, settings), head.solve(alone, settings), 0)


def test_a_weight_of_two_is_the_sample_twice(head: Head, blobs: Blobs) -> None:
    """Weights count samples; with as many of each class doubled, the classes stay balanced."""
    problem = blobs().full(45)
    twice = np.arange(45) < 0
    for label in range(3):
        twice[np.flatnonzero(problem.y == label)[:4]] = True
    rows = np.append(np.arange(45), np.flatnonzero(twice))
    weighted = replace(problem, weight=np.where(twice, 2.0, 1.0))
    expected = solved(head, problem.subset(rows))
    assert_close(solved(head, weighted), expected, 1e-4)
    assert (
        max(float(np.abs(a.weight - b.weight).max()) for a, b in zip(solved(head, problem), expected, strict=True))
        > 1e-4
    )


def test_weights_of_one_are_no_weights(head: Head, blobs: Blobs) -> None:
    """Equal weights change nothing."""
    problem = blobs().full(40)
    assert_close(solved(head, replace(problem, weight=np.ones(40))), solved(head, problem), 1e-8)


def test_a_vanishing_weight_is_no_sample(head: Head, blobs: Blobs) -> None:
    """A sample of next to no weight has next to no say, in balanced classes of which each loses one such."""
    problem = blobs().problem(45)
    light = np.unique(problem.y, return_index=True)[1]
    weight = np.ones(45)
    weight[light] = 1e-9
    left = problem.subset(np.setdiff1d(np.arange(45), light))
    heavy = replace(problem, x=problem.x.copy(), weight=weight)
    assert_close(solved(head, heavy), solved(head, left), 1e-2)


def test_a_heavier_class_is_predicted_more_often(head: Head, blobs: Blobs) -> None:
    """The weight of a class's samples is the class's, for heads that weigh classes; `prototype` does not."""
    world = blobs(apart=0.3)
    problem, (x, _) = world.problem(90), world.draw(600, 5)
    heavy = replace(problem, weight=np.where(problem.y == 1, 8.0, 1.0))
    for before, after in zip(solved(head, problem), solved(head, heavy), strict=True):
        shares = [(w.logits(x).argmax(axis=1) == 1).mean() for w in (before, after)]
        assert shares[1] > shares[0] or head.name == "prototype"


def test_the_scale_of_weights_does_not_matter(head: Head, blobs: Blobs) -> None:
    """Without a source, weights that are all ten times as large decide alike."""
    world = blobs(apart=0.7)
    problem, (x, _) = world.problem(60), world.draw(300, 5)
    weight = np.random.default_rng(0).uniform(0.5, 2, 60)
    one, ten = (solved(head, replace(problem, weight=weight * scale)) for scale in (1, 10))
    for a, b in zip(one, ten, strict=True):
        assert (a.logits(x).argmax(axis=1) == b.logits(x).argmax(axis=1)).mean() > 0.99


def test_one_sample_a_class_is_classified(head: Head, blobs: Blobs) -> None:
    """From one sample a class, every setting classifies these samples rightly."""
    x, y = one_a_class(*blobs(k=4, m=12).draw(24, 1))
    for weights in solved(head, Problem(x, y, 4)):
        assert (weights.logits(x).argmax(axis=1) == y).all()


def test_stronger_regularisation_comes_first(head: Head, blobs: Blobs) -> None:
    """Settings of one source weight and prior go from the strongest regularisation to the weakest."""
    settings = head.settings(blobs().full(40))
    assert len(set(settings)) == len(settings)
    assert {s.head for s in settings} == {head.name}
    for a, b in pairwise(settings):
        if (a.source_weight, a.prior) == (b.source_weight, b.prior):
            assert a.regularisation > b.regularisation


def test_a_setting_does_not_depend_on_its_neighbours(head: Head, blobs: Blobs) -> None:
    """A setting solved alone gives what it gives among all the others."""
    problem = blobs().full(40)
    settings = head.settings(problem)
    alone = [head.solve(problem, (setting,))[0] for setting in settings]
    assert_close(alone, head.solve(problem, settings), 1e-4)


def probabilities(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Return the class probabilities of samples."""
    powers = np.exp(weights.logits(x) - weights.logits(x).max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def test_a_draft_predicts_what_the_solution_predicts(head: Head, blobs: Blobs) -> None:
    """On other samples, the probabilities of a draft are those of the full solution within a hundredth."""
    world = blobs(apart=1.0)
    problem, (x, _) = world.full(60), world.draw(300, 5)
    settings: tuple[Setting, ...] = head.settings(problem)
    for draft, full in zip(head.solve(problem, settings, draft=True), solved(head, problem), strict=True):
        a, b = probabilities(draft, x), probabilities(full, x)
        assert np.abs(a - b).mean() < 0.01
        assert (a.argmax(axis=1) == b.argmax(axis=1)).mean() > 0.97
