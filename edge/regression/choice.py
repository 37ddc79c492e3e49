"""Which ridge: every strength, source weight and prior on samples held out, by their squared error."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from time import perf_counter

import numpy as np

from ...record import record
from ..heads.problem import Float64, Weights
from .ridge import Problem, Ridge, System

Progress = Callable[[int, int], None]
_BLOCK = 1_024


@record()
class RidgeTrial:
    """One setting, and how it did.

    Args:
        setting: The setting.
        loss: Mean squared error on held-out samples, in units of the variance of each target, which is what the mean of
            all targets would have.
    """

    setting: Ridge
    loss: float


@record(eq=False)
class Choice:
    """What was chosen.

    Args:
        weights: The best setting, fitted on all samples.
        best: The best setting.
        trials: Every setting tried, best first.
        predicted: ``(n, t)`` what is predicted for each sample without its unit, by the setting that the other units
            would have chosen.
    """

    weights: Weights
    best: RidgeTrial
    trials: tuple[RidgeTrial, ...]
    predicted: Float64


def variance(y: Float64, weight: Float64) -> Float64:
    """Return the ``(t,)`` weighted variance of targets; 1 for one that never changes."""
    share = weight / weight.sum()
    found = share @ (y - share @ y) ** 2
    return np.where(found > 0, found, 1.0)


def fit_all(problem: Problem, settings: Sequence[Ridge], deadline: float | None = None) -> list[Weights]:
    """Fit every setting on all samples.

    Args:
        problem: The problem.
        settings: The settings; those of one source weight and prior stand together.
        deadline: A time of `time.perf_counter` from which on no system is decomposed any more.

    Returns:
        The fits of all settings, or of the first of them.
    """
    found: list[Weights] = []
    for weight, alike in groupby(settings, lambda s: s.source_weight):
        if deadline is not None and perf_counter() >= deadline:
            break
        system = System.of(problem, weight)
        for prior, some in groupby(alike, lambda s: s.prior):
            found += system.solve(prior, [setting.strength for setting in some])
    return found


def choose(
    problem: Problem,
    settings: Sequence[Ridge] | None = None,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> Choice:
    """Try settings and choose.

    Args:
        problem: At least two units.
        settings: What to try; by default everything.
        progress: Called with the number of decompositions done and of all.
        deadline: A time of `time.perf_counter` from which on nothing more is tried, but for the first decomposition.

    Returns:
        The choice; the first of equals.
    """
    tried = problem.settings() if settings is None else tuple(settings)
    systems = cache(lambda weight: System.of(problem, weight))
    loss_of = problem.weight[:, None] / problem.weight.sum() / variance(problem.y, problem.weight) / problem.y.shape[1]
    by_unit, done = np.empty((len(tried), int(problem.units.max()) + 1)), 0
    weights = list(dict.fromkeys(setting.source_weight for setting in tried))
    for (source_weight, prior), alike in groupby(tried, lambda s: (s.source_weight, s.prior)):
        if done and deadline is not None and perf_counter() >= deadline:
            break
        strengths = [setting.strength for setting in alike]
        off = systems(source_weight).held_out(prior, strengths)
        off -= problem.y
        off *= off
        for loss in np.einsum("rnt,nt->rn", off, loss_of):
            by_unit[done] = np.bincount(problem.units, loss)
            done += 1
        if progress is not None:
            progress(weights.index(source_weight) + 1, len(weights))
    by_unit = by_unit[:done]
    whole = by_unit.sum(axis=1)
    best = int(whole.argmin())
    # Block by block: `argmin` copies what it looks at across rows.
    blocks = [by_unit[:, first : first + _BLOCK] for first in range(0, by_unit.shape[1], _BLOCK)]
    picks = np.concatenate([(whole[:, None] - block).argmin(axis=0) for block in blocks])[problem.units]
    predicted = np.empty_like(problem.y)
    for pick in np.unique(picks):
        setting = tried[int(pick)]
        (found,) = systems(setting.source_weight).held_out(setting.prior, [setting.strength])
        predicted[picks == pick] = found[picks == pick]
    (fitted,) = systems(tried[best].source_weight).solve(tried[best].prior, [tried[best].strength])
    trials = [RidgeTrial(setting, float(loss)) for setting, loss in zip(tried, whole, strict=False)]
    ordered = sorted(range(len(trials)), key=lambda i: (i != best, trials[i].loss))
    return Choice(fitted, trials[best], tuple(trials[i] for i in ordered), predicted)
