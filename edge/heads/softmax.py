"""The `softmax` head: convex multinomial logistic regression, free or drawn to the shipped head."""

import numpy as np
from numpy.typing import NDArray

from .conjugate import minimise
from .logistic import Objective
from .problem import ABSENT, Float64, Prior, Problem, Setting, Weights

# In units of the mean squared norm of a sample, which makes them fit any width.
REGULARISATIONS = (0.1, 0.02, 0.004, 0.0008, 0.0001)
# Weight of the source's loss against the local one.
EWC_REGULARISATIONS = (30.0, 3.0, 0.3, 0.03)
# What the Fisher information leaves free is held by so much, in the units of `REGULARISATIONS`.
FLOOR = 0.0001
# Shares of the gradient at equal probabilities: in double precision, in single, and to compare settings.
TOLERANCE, SINGLE, DRAFT = 1e-6, 1e-5, 3e-3
# Logits held at a time when several settings are minimised together.
_TOGETHER = 1 << 22


class Softmax:
    """Multinomial logistic regression with balanced classes, sample weights and a quadratic penalty.

    The penalty is one of three:

    * ``"none"``: `regularisation` times the mean squared norm of a sample draws the weights to 0; the bias is free;
    * ``"shipped"``: the same draws weights and bias to the shipped head (L2-SP; Li, Grandvalet and Davoine 2018,
      "Explicit Inductive Bias for Transfer Learning");
    * ``"ewc"``: each weight is drawn to the shipped head's by `regularisation` times its Fisher information
      (Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"): at 1, leaving the shipped
      head costs about what it costs on the source. A little of the second comes with it, so that there is one minimum.

    A class that the shipped head lacks is drawn to 0. It has no Fisher information: the mean of the others' stands in.
    """

    name = "softmax"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return a grid over the regularisation and, with a shipped head, the prior."""
        grids: dict[Prior, tuple[float, ...]] = {"none": REGULARISATIONS}
        if problem.prior is not None:
            grids["shipped"] = REGULARISATIONS
            if problem.fisher is not None:
                grids["ewc"] = EWC_REGULARISATIONS
        return tuple(Setting(self.name, r, prior=prior) for prior, grid in grids.items() for r in grid)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Minimise for several settings at a time; a draft in single precision. See `Head.solve`."""
        found: dict[Setting, Weights] = {}
        together = max(1, _TOGETHER // (problem.k * len(problem.y)))
        for to_shipped in (False, True):
            alike = [setting for setting in settings if (setting.prior != "none") == to_shipped]
            for start in range(0, len(alike), together):
                found |= _minima(problem, tuple(alike[start : start + together]), draft=draft)
        return [found[setting] for setting in settings]


def _minima(problem: Problem, settings: tuple[Setting, ...], *, draft: bool) -> dict[Setting, Weights]:
    """Minimise for settings that are drawn to alike heads."""
    objective, present = _objective(problem, settings, draft=draft)
    enough = SINGLE if objective.x.dtype == np.float32 else TOLERANCE
    theta = minimise(objective, objective.prior, DRAFT if draft else enough).astype(np.float64)
    found: dict[Setting, Weights] = {}
    for place, setting in enumerate(settings):
        weight, bias = np.zeros((problem.k, problem.x.shape[1])), np.full(problem.k, ABSENT)
        weight[present], bias[present] = theta[:, place, :-1], theta[:, place, -1]
        found[setting] = Weights(weight, bias)
    return found


def _objective(problem: Problem, settings: tuple[Setting, ...], *, draft: bool) -> tuple[Objective, NDArray[np.intp]]:
    """Return the objectives of settings that are drawn to alike heads, and the classes that they know."""
    x, count = problem.x.astype(np.float32, copy=False) if draft else problem.x, problem.counts
    shipped = problem.prior if settings[0].prior != "none" else None
    known = count > 0 if shipped is None else (count > 0) | (shipped.bias > ABSENT)
    present = np.flatnonzero(known)
    place = np.full(problem.k, -1)
    place[present] = np.arange(len(present))
    given = problem.weights
    weight = given / count[problem.y]
    weight /= weight.sum()
    square = float(np.einsum("ij,ij->i", x, x) @ given) / float(given.sum())
    m = x.shape[1]
    prior = np.zeros((len(present), 1, m + 1))
    if shipped is not None:
        prior[:, 0, :-1] = shipped.weight[present]
        prior[:, 0, -1] = np.where(shipped.bias > ABSENT, shipped.bias, 0)[present]
    penalties = [_penalty(problem, setting, present, square) for setting in settings]
    objective = Objective(
        x,
        place[problem.y],
        weight.astype(x.dtype),
        np.stack(np.broadcast_arrays(*penalties), axis=1).astype(x.dtype),
        np.repeat(prior, len(settings), axis=1).astype(x.dtype),
    )
    return objective, present


def _penalty(problem: Problem, setting: Setting, present: NDArray[np.intp], square: float) -> Float64:
    """Return the ``(k, m + 1)`` strengths of a setting's pull, or ``(1, m + 1)`` where they are the same for all."""
    if setting.prior == "ewc":
        if problem.fisher is None or problem.prior is None:
            raise AssertionError("only problems with a shipped head and its Fisher information offer this prior")
        fisher = problem.fisher[present]
        has = problem.prior.bias[present] > ABSENT
        fisher[~has] = fisher[has].mean(axis=0) if has.any() else 0
        return setting.regularisation * fisher + FLOOR * square
    result = np.full((1, problem.x.shape[1] + 1), setting.regularisation * square)
    if setting.prior == "none":
        result[:, -1] = 0
    return result
