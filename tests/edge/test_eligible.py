"""No shipped class is forgotten for want of local samples: which settings are tried at all."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from acclimate.edge.adaptation.selection import cross_validate, eligible
from acclimate.edge.heads import ABSENT, HEADS, LDA, Problem, Setting, Softmax, Weights

from .planted import Planted

Blobs = Callable[..., Any]


def shipped_without(lost: int, problem: Problem) -> Problem:
    """Return the problem without the samples of a class."""
    return problem.subset(problem.y != lost)


def test_no_setting_that_forgets_a_shipped_class_is_tried(blobs: Blobs) -> None:
    """With a shipped class that has no local sample, every fit of every eligible setting still predicts it."""
    world = blobs(k=4, apart=4.0)
    whole = world.full(60, 300)
    right = LDA().solve(whole, (Setting("lda", 0.1),))[0]
    problem = shipped_without(2, replace(whole, prior=right))
    x, y = world.draw(100, 5)
    for head in HEADS:
        some = eligible(head, problem)
        assert some
        assert set(some) < set(head.settings(problem))
        for weights in head.solve(problem, some):
            assert weights.bias[2] > ABSENT / 2
            assert (weights.logits(x)[y == 2].argmax(axis=1) == 2).mean() > 0.5


def test_settings_that_know_every_shipped_class_are_the_only_ones(blobs: Blobs) -> None:
    """A class that the source lacks lives in the shipped head alone, and the other way round: only that one counts."""
    whole = blobs(k=4).full(60, 300)
    count = whole.source.count * np.array([1, 1, 0, 1])
    source_lacks = shipped_without(2, replace(whole, source=replace(whole.source, count=count)))
    assert not eligible(LDA(), source_lacks)
    assert {s.prior for s in eligible(Softmax(), source_lacks)} == {"shipped"}
    prior_lacks = shipped_without(2, replace(whole, prior=Weights(whole.prior.weight, np.array([0, 0, ABSENT, 0]))))
    assert {s.source_weight > 0 for s in eligible(LDA(), prior_lacks)} == {True}
    assert not eligible(Softmax(), prior_lacks)
    both = replace(source_lacks, prior=prior_lacks.prior)
    assert eligible(LDA(), both) == LDA().settings(both)


def test_a_setting_that_loses_a_class_unseen_here_is_left_out(blobs: Blobs) -> None:
    """Held-out samples cannot tell that a class without any is lost; its mean at the source can."""
    world = blobs(k=3, apart=4.0)
    whole = replace(world.problem(60), source=world.source(300))
    problem = whole.subset(whole.y != 2)
    (good,) = LDA().solve(whole, (Setting("lda", 0.1),))
    # Right on every local sample, and surer of them, but blind to the third class.
    blind = Weights(5 * good.weight, np.array([5, 5, 0]) * good.bias + np.array([0, 0, -1e4]))
    found = cross_validate(problem, (Planted("planted", (blind, good), 1.0),))
    assert found.best.setting.regularisation == 1.0
    assert [trial.setting.regularisation for trial in found.trials] == [1.0]
    every = cross_validate(problem, (Planted("planted", (blind, blind), 1.0),))
    assert len(every.trials) == 2


def test_every_setting_is_tried_where_nothing_can_be_forgotten(blobs: Blobs) -> None:
    """With local samples of every shipped class nothing is left out."""
    problem = blobs().full(40)
    for head in HEADS:
        assert eligible(head, problem) == head.settings(problem)
