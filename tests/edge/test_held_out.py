"""Held-out scores in closed form against refitting without the held-out samples, in every form of the computation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acclimate.edge.adaptation.folds import assign_folds
from acclimate.edge.heads import ABSENT, LDA, Problem, Prototype, Ridge, held_out
from acclimate.edge.heads.closed import ClosedForm
from acclimate.edge.heads.held_out import Folds
from acclimate.edge.heads.jobs import Job, jobs_of

Blobs = Callable[..., Any]
CLOSED: tuple[ClosedForm, ...] = (Prototype(), LDA(), Ridge())
# More dimensions than twice a fold and the classes: out of one decomposition; fewer: a factorisation each.
WIDTHS = {"narrow folds": 60, "wide folds": 12}


def weighted(problem: Problem) -> Problem:
    """Return the problem with unequal weights."""
    return replace(problem, weight=np.random.default_rng(0).uniform(0.2, 3, len(problem.y)))


def turned(problem: Problem) -> Problem:
    """Return the problem in its principal axes."""
    axes = np.linalg.eigh(problem.x.T @ problem.x)[1]
    return replace(problem, x=problem.x @ axes)


def without_class(problem: Problem) -> Problem:
    """Return the problem without samples of the last class, which only the source then has."""
    return problem.subset(problem.y < problem.k - 1)


def one_of_a_class(problem: Problem) -> Problem:
    """Return the problem with a single sample of the first class, so that a fold's others have none."""
    return problem.subset((problem.y > 0) | (np.cumsum(problem.y == 0) == 1))


def unbalanced(problem: Problem) -> Problem:
    """Return the problem with few samples of the first class."""
    return problem.subset((problem.y > 0) | (np.arange(len(problem.y)) % 4 == 0))


CASES: dict[str, Callable[[Any], Problem]] = {
    "samples": lambda world: world.problem(60),
    "principal axes": lambda world: turned(world.problem(60)),
    "weights": lambda world: weighted(world.problem(60)),
    "source": lambda world: replace(world.problem(60), source=world.source(90)),
    "source and weights": lambda world: weighted(replace(world.problem(60), source=world.source(90))),
    "a class of the source alone": lambda world: without_class(replace(world.problem(60), source=world.source(90))),
    "a class that a fold takes away": lambda world: one_of_a_class(world.problem(60)),
    "unequal classes": lambda world: weighted(unbalanced(world.problem(60))),
    "every sample the same": lambda world: Problem(np.ones((60, world.m)), np.arange(60) % 3, 3),
    "float32": lambda world: replace(world.problem(60), x=world.problem(60).x.astype(np.float32)),
}


def job_of(head: ClosedForm, problem: Problem) -> list[Job]:
    """Return the jobs of all settings of a head."""
    return jobs_of([(head, head.settings(problem))])


@pytest.mark.parametrize("head", CLOSED, ids=lambda head: head.name)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_what_refitting_gives(blobs: Blobs, head: ClosedForm, width: str, case: str) -> None:
    """For every setting, fold, held-out sample and probe, the logits are those of a head fitted without the fold."""
    problem = CASES[case](blobs(m=WIDTHS[width], apart=0.7))
    fold = assign_folds(problem.y)
    # Every seventh sample is never held out.
    fold[::7] = -1
    held = tuple(np.flatnonzero(fold == number) for number in range(5))
    probes = np.random.default_rng(1).normal(size=(4, WIDTHS[width]))
    folds = Folds(problem, held, probes)
    assert folds.narrow == (width == "narrow folds")
    for job in job_of(head, problem):
        for rows, found in zip(held, job.logits(folds), strict=True):
            training = problem.subset(np.setdiff1d(np.arange(len(fold)), rows))
            asked = np.vstack([problem.x[rows], probes])
            for ours, weights in zip(found, head.solve(training, job.settings), strict=True):
                expected = weights.logits(asked)
                present = weights.bias > ABSENT
                assert (ours[:, ~present] == ABSENT).all()
                scale = max(1.0, float(np.abs(expected[:, present]).max()))
                np.testing.assert_allclose(ours[:, present] / scale, expected[:, present] / scale, rtol=0, atol=1e-8)


def test_strengths_and_moments_may_come_in_pieces(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all strengths or all folds' moments would be too large together, the logits are the same."""
    for m in WIDTHS.values():
        problem = blobs(m=m, apart=0.7).full(60)
        held = tuple(np.flatnonzero(assign_folds(problem.y) == number) for number in range(5))

        def run() -> list[np.ndarray]:
            folds = Folds(problem, held, np.empty((0, m)))  # noqa: B023
            return [found for job in job_of(LDA(), problem) for found in job.logits(folds)]  # noqa: B023

        whole = run()
        with monkeypatch.context() as patch:
            patch.setattr(held_out, "_TOGETHER", 1)
            patch.setattr(held_out, "_KEPT", 1)
            for a, b in zip(run(), whole, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_heads_at_the_same_strengths_share_a_job(blobs: Blobs) -> None:
    """`lda` and `ridge` are solved together, one job per source weight, and the first head's jobs come first."""
    problem = blobs().full(40)
    jobs = jobs_of([(head, head.settings(problem)) for head in CLOSED])
    assert [tuple(head.name for head, _ in job.parts) for job in jobs] == [("prototype",)] * 5 + [("lda", "ridge")] * 5
    assert sum(len(job.settings) for job in jobs) == sum(len(head.settings(problem)) for head in CLOSED)
