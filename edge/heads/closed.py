"""Heads in closed form: functions of class means and one scatter, solved for many strengths from one decomposition.

With ``M`` the class means, ``S`` the scatter within the classes, and ``P = (S + a I)^-1``, every such head is a mixture
of the class scores ``x P M^T`` that depends on the ``(k, k)`` matrix ``M P M^T`` alone.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ...record import record
from .problem import ABSENT, Float64, Head, Problem, Setting, Weights
from .sums import Sums, add_up, moment_of, source_moment, source_sums

# Of standardised coordinates: less is the rounding of the codes, and dividing by it would blow up the weights.
LEAST_VARIANCE = 1e-4
# From the strongest to the weakest, in units of the mean variance within the classes; the weights of the source.
REGULARISATIONS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
SOURCE_WEIGHTS = (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)


@record(eq=False)
class Scores:
    """Class scores of some rows at several strengths.

    Args:
        cross: ``(r, q, k)``: ``x P M^T`` of each row x at each strength.
        solution: ``(r, m, k)``: ``P M^T``.
        strengths: ``(r,)`` in units of the mean variance within the classes; infinite: P is the identity.
        sums: What the means are of, in the same axes as the solution.
    """

    cross: Float64
    solution: Float64
    strengths: Float64
    sums: Sums

    @property
    def gram(self) -> Float64:
        """``(r, k, k)``: ``M P M^T``."""
        result: Float64 = self.sums.mean @ self.solution
        return result

    @property
    def squares(self) -> Float64:
        """``(r, k)`` diagonal of `gram`."""
        mean = np.ascontiguousarray(self.sums.mean.T)
        return np.stack([(mean * each).sum(axis=0) for each in self.solution])


@runtime_checkable
class ClosedForm(Head, Protocol):
    """A head that is a function of class scores."""

    def strength(self, setting: Setting) -> float:
        """Return the regularisation in units of the mean variance within the classes."""

    def mix(self, scores: Scores) -> tuple[Float64, Float64]:
        """Return ``(r, q, k)`` logits without their bias, linear in `Scores.cross`, and the ``(r, k)`` biases."""


def grid(name: str, problem: Problem, strengths: Sequence[float]) -> tuple[Setting, ...]:
    """Return the settings of all strengths and, with a source, all its weights."""
    weights = SOURCE_WEIGHTS if problem.source is not None else SOURCE_WEIGHTS[:1]
    return tuple(Setting(name, strength, weight) for weight in weights for strength in strengths)


def solve(head: ClosedForm, problem: Problem, settings: Sequence[Setting]) -> list[Weights]:
    """Fit a head on all samples, one linear system per setting. See `Head.solve`."""
    rows = np.arange(len(problem.y))
    local = add_up(problem, rows)
    moment = moment_of(problem, rows) if any(np.isfinite(head.strength(s)) for s in settings) else None
    found: list[Weights] = []
    for setting in settings:
        weight = setting.source_weight
        joint, whole = local, moment
        if problem.source is not None and weight > 0:
            joint = local + source_sums(problem.source, weight)
            whole = None if moment is None else moment + source_moment(problem.source, weight)
        found += solve_sums(head, joint, whole, (setting,))
    return found


def solve_sums(head: ClosedForm, sums: Sums, moment: Float64 | None, settings: Sequence[Setting]) -> list[Weights]:
    """Fit a head on sums alone, whoever added them up.

    Args:
        head: The head.
        sums: Sums of all samples, a source among them or not.
        moment: ``(m, m)`` their sum of outer products, or None where no setting has a finite strength.
        settings: What to fit; their source weight is not looked at.

    Returns:
        Weights in the order of the settings.
    """
    strengths = np.array([head.strength(setting) for setting in settings])
    solution = solve_scatter(None if moment is None else within(moment, sums), sums, strengths)
    scores = Scores(solution, solution, strengths, sums)
    mixed, bias = head.mix(scores)
    bias = np.where(sums.count > 0, bias, ABSENT)
    return [Weights(np.ascontiguousarray(w.T), b) for w, b in zip(mixed, bias, strict=True)]


def within(moment: Float64, sums: Sums) -> Float64:
    """Return the ``(m, m)`` scatter within the classes, from the sum of outer products."""
    rows = mean_rows(sums)
    result: Float64 = moment - rows.T @ rows
    return result


def mean_rows(sums: Sums) -> Float64:
    """Return the class means, each times the root of its weight; their outer products are the scatter between."""
    result: Float64 = sums.total / np.sqrt(np.where(sums.count > 0, sums.count, 1))[:, None]
    return result


def ridges(strengths: Float64, trace: float, m: int, sums: Sums) -> Float64:
    """Return what is added to the scatter's diagonal, given the scatter's trace."""
    level = trace / m
    if level < LEAST_VARIANCE * sums.freedom:
        # One sample a class, or all alike, and no source: nothing is known of the scatter; the identity stands for it.
        level = sums.freedom
    return strengths * level


def solve_scatter(scatter: Float64 | None, sums: Sums, strengths: Float64) -> Float64:
    """Return ``(r, m, k)``: ``P M^T`` at every strength, by one factorisation each; no scatter for infinite ones."""
    right = sums.mean.T
    if scatter is None:
        return np.broadcast_to(right, (len(strengths), *right.shape))
    m = len(scatter)
    added = ridges(strengths, float(np.trace(scatter)), m, sums)
    solution = np.empty((len(strengths), *right.shape))
    matrix, diagonal = scatter.copy(), np.arange(m)
    for place, ridge in enumerate(added):
        if np.isinf(ridge):
            solution[place] = right
            continue
        matrix[diagonal, diagonal] = scatter[diagonal, diagonal] + ridge
        solution[place] = np.linalg.solve(matrix, right)
    return solution
