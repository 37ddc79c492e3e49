"""The `softmax` head: convex multinomial logistic regression by a truncated Newton method, in numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .problem import ABSENT, Float64, Prior, Problem, Setting, Weights

# In units of the mean squared norm of a sample, which makes them fit any width.
REGULARISATIONS = (0.3, 0.08, 0.02, 0.005, 0.001, 0.0002, 0.00004)
MAX_NEWTON, MAX_CG = 60, 80
TOLERANCE, DRAFT = 1e-6, 1e-3


@dataclass(frozen=True, eq=False)
class Objective:
    """``sum_i w_i crossentropy_i + alpha / 2 |weight - prior|^2``, with sample weights that add up to 1.

    Multiply by ``n`` and divide by ``alpha n`` for scikit-learn's ``LogisticRegression(C=1 / (alpha n))``.

    Args:
        x: ``(n, m + 1)`` samples with a last column of ones.
        target: ``(n, k)`` one-hot classes.
        weight: ``(n, 1)`` sample weights; their sum is 1.
        penalty: ``(m + 1,)`` strength of the penalty of each column.
        prior: ``(k, m + 1)`` what the weights are drawn towards.
    """

    x: Float64
    target: Float64
    weight: Float64
    penalty: Float64
    prior: Float64

    def value(self, theta: Float64) -> tuple[float, Float64]:
        """Return the loss at ``(k, m + 1)`` and the ``(n, k)`` probabilities."""
        logits = self.x @ theta.T
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        total = exponentials.sum(axis=1, keepdims=True)
        loss = float((self.weight * (np.log(total) - (logits * self.target).sum(axis=1, keepdims=True))).sum())
        away = theta - self.prior
        return loss + 0.5 * float((self.penalty * away * away).sum()), exponentials / total

    def gradient(self, theta: Float64, probability: Float64) -> Float64:
        """Return the ``(k, m + 1)`` gradient."""
        result: Float64 = (self.weight * (probability - self.target)).T @ self.x + self.penalty * (theta - self.prior)
        return result

    def curvature(self, probability: Float64, direction: Float64) -> Float64:
        """Return the Hessian times a ``(k, m + 1)`` direction."""
        along = self.x @ direction.T
        change = probability * (along - (probability * along).sum(axis=1, keepdims=True))
        result: Float64 = (self.weight * change).T @ self.x + self.penalty * direction
        return result


def minimise(objective: Objective, start: Float64, tolerance: float = TOLERANCE) -> Float64:
    """Minimise by Newton's method, each step found by preconditioned conjugate gradients.

    Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.1 (line-search Newton-CG). The diagonal of the
    Hessian is the preconditioner. Deterministic.

    Args:
        objective: What to minimise.
        start: ``(k, m + 1)``.
        tolerance: Stop when the gradient's norm is at most this share of its norm at 0.

    Returns:
        The minimum, ``(k, m + 1)``.
    """
    theta = start.copy()
    loss, probability = objective.value(theta)
    uniform = np.full_like(probability, 1 / probability.shape[1])
    goal = tolerance * float(np.linalg.norm(objective.gradient(objective.prior, uniform)))
    squares = objective.x**2
    for _ in range(MAX_NEWTON):
        gradient = objective.gradient(theta, probability)
        size = float(np.linalg.norm(gradient))
        if size <= goal:
            break
        diagonal = (objective.weight * probability * (1 - probability)).T @ squares + objective.penalty
        step = _newton_step(objective, probability, gradient, diagonal + 1e-12, min(0.3, size**0.5) * size)
        slope = float((gradient * step).sum())
        length = 1.0
        while True:
            moved, seen = objective.value(theta + length * step)
            if moved <= loss + 1e-4 * length * slope or length < 1e-8:
                break
            length /= 2
        if moved >= loss:
            break
        theta, loss, probability = theta + length * step, moved, seen
    return theta


def _newton_step(
    objective: Objective, probability: Float64, gradient: Float64, diagonal: Float64, enough: float
) -> Float64:
    """Solve ``H step = -gradient`` until the residual is small enough."""
    step = np.zeros_like(gradient)
    residual = -gradient
    scaled = residual / diagonal
    direction = scaled
    product = float((residual * scaled).sum())
    for _ in range(MAX_CG):
        bent = objective.curvature(probability, direction)
        length = product / float((direction * bent).sum())
        step = step + length * direction
        residual = residual - length * bent
        if float(np.linalg.norm(residual)) <= enough:
            break
        scaled = residual / diagonal
        before, product = product, float((residual * scaled).sum())
        direction = scaled + product / before * direction
    return step


class Softmax:
    """Multinomial logistic regression with balanced classes and an L2 penalty.

    The penalty draws the weights towards 0, or towards the shipped head (L2-SP; Li, Grandvalet and Davoine 2018,
    "Explicit Inductive Bias for Transfer Learning"). The bias is free of it unless there is a prior.
    """

    name = "softmax"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return a grid over the regularisation and, with a shipped head, the prior."""
        priors: tuple[Prior, ...] = ("none", "shipped") if problem.prior is not None else ("none",)
        return tuple(Setting(self.name, r, prior=prior) for prior in priors for r in REGULARISATIONS)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Minimise once per setting, each from the minimum of the one before. See `Head.solve`."""
        found: list[Weights] = []
        start: Float64 | None = None
        before: Prior = "none"
        for setting in settings:
            objective, present = _objective(problem, setting)
            if start is None or setting.prior != before:
                start = objective.prior
            theta = minimise(objective, start, DRAFT if draft else TOLERANCE)
            start, before = theta, setting.prior
            weight, bias = np.zeros((problem.k, problem.x.shape[1])), np.full(problem.k, ABSENT)
            weight[present], bias[present] = theta[:, :-1], theta[:, -1]
            found.append(Weights(weight, bias))
        return found


def _objective(problem: Problem, setting: Setting) -> tuple[Objective, NDArray[np.intp]]:
    n, m = problem.x.shape
    count = problem.counts
    shipped = problem.prior if setting.prior == "shipped" else None
    known = count > 0 if shipped is None else (count > 0) | (shipped.bias > ABSENT)
    present = np.flatnonzero(known)
    place = np.full(problem.k, -1)
    place[present] = np.arange(len(present))
    target = np.zeros((n, len(present)))
    target[np.arange(n), place[problem.y]] = 1
    weight = 1 / count[problem.y]
    x = np.hstack([problem.x, np.ones((n, 1))])
    alpha = setting.regularisation * float((problem.x**2).sum()) / n
    penalty = np.full(m + 1, alpha)
    prior = np.zeros((len(present), m + 1))
    if shipped is None:
        penalty[-1] = 0
    else:
        prior[:, :-1] = shipped.weight[present]
        prior[:, -1] = np.where(shipped.bias > ABSENT, shipped.bias, 0)[present]
    return Objective(x, target, (weight / weight.sum())[:, None], penalty, prior), present
