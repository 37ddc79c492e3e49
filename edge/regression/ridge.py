"""Ridge regression in closed form: joint with the source, and held-out predictions without a refit.

One eigendecomposition per weight of the source serves every strength, every prior and every sample left out.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..heads.problem import Float64, Weights
from .left_out import leave_out

# In units of the number of samples, for coordinates of variance 1; infinite: only the constant is learnt.
STRENGTHS = (np.inf, *(float(10 ** (power / 2)) for power in range(6, -11, -1)))
# Weight of one source sample, a local one weighing 1.
SOURCE_WEIGHTS = (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)
Prior = Literal["none", "shipped"]
# Rows that are turned at a time.
_BLOCK = 4_096


@record()
class Ridge:
    """A setting.

    Args:
        strength: Of the penalty, as in `STRENGTHS`.
        source_weight: Weight of one source sample, 0 to 1.
        prior: What the weights are drawn towards: zero, or those of the shipped head.
    """

    strength: float
    source_weight: float = 0.0
    prior: Prior = "none"


@record(eq=False)
class SourceMoments:
    """The source in the coordinates of a problem.

    Args:
        count: Number of samples.
        mean: ``(m,)``.
        scatter: ``(m, m)`` sum of products of deviations from the mean.
        target: ``(t,)`` mean of the targets.
        cross: ``(t, m)`` sum of products of deviations of targets and coordinates.
    """

    count: float
    mean: Float64
    scatter: Float64
    target: Float64
    cross: Float64


@record(eq=False)
class Problem:
    """What is fitted.

    Args:
        x: ``(n, m)`` samples.
        y: ``(n, t)`` targets.
        weight: ``(n,)`` sample weights, above 0.
        units: ``(n,)`` numbers 0, 1, ... of what is held out together.
        source: The source, or None.
        prior: ``(t, m)`` weights of the shipped head, or None.
    """

    x: Float64
    y: Float64
    weight: Float64
    units: NDArray[np.int64]
    source: SourceMoments | None = None
    prior: Float64 | None = None

    def settings(self) -> tuple[Ridge, ...]:
        """Return every setting to try, the one that trusts the samples least first."""
        weights = SOURCE_WEIGHTS if self.source is not None else SOURCE_WEIGHTS[:1]
        priors: tuple[Prior, ...] = ("none",) if self.prior is None else ("shipped", "none")
        return tuple(Ridge(strength, w, prior) for w in reversed(weights) for prior in priors for strength in STRENGTHS)


@record(eq=False)
class System:
    """The normal equations at one weight of the source, decomposed.

    With a bias that is not penalised, ``sum_i s_i |y_i - W x_i - b|^2 + w sum_source |y - W x - b|^2 + l |W - W0|^2``
    is minimised by ``W = W0 + (B - W0 A) (A + l I)^-1`` with ``A`` and ``B`` the scatter of local and source samples
    together, about their joint mean. `l` is the strength times the total weight. At source weight 1 it is training on
    the pooled samples, without having the source's (Hoerl and Kennard 1970, "Ridge Regression").

    Args:
        problem: The problem.
        total: Weight of all samples together.
        mean: ``(m,)`` joint mean of the samples.
        target: ``(t,)`` joint mean of the targets.
        values: ``(m,)`` eigenvalues of ``A``.
        axes: ``(m, m)`` its eigenvectors as columns.
        scatter: ``(m, m)`` ``A``.
        cross: ``(t, m)`` ``B``.
    """

    problem: Problem
    total: float
    mean: Float64
    target: Float64
    values: Float64
    axes: Float64
    scatter: Float64
    cross: Float64

    @classmethod
    def of(cls, problem: Problem, source_weight: float) -> "System":
        """Add up and decompose."""
        x, y, s = problem.x, problem.y, problem.weight
        total, source = float(s.sum()), problem.source if source_weight > 0 else None
        mean, target = s @ x, s @ y
        if source is not None:
            share = source_weight * source.count
            total, mean, target = total + share, mean + share * source.mean, target + share * source.target
        mean, target = mean / total, target / total
        root = np.sqrt(s)[:, None]
        away = x - mean
        away *= root
        scatter, cross = away.T @ away, ((y - target) * root).T @ away
        # As large as the samples, and done with before the decomposition.
        del away
        if source is not None:
            step, leap = source.mean - mean, source.target - target
            scatter += source_weight * (source.scatter + source.count * np.outer(step, step))
            cross += source_weight * (source.cross + source.count * np.outer(leap, step))
        values, axes = np.linalg.eigh(scatter)
        return cls(problem, total, mean, target, np.maximum(values, 0), axes, scatter, cross)

    def solve(self, prior: Prior, strengths: Sequence[float]) -> list[Weights]:
        """Fit on all samples, at each strength."""
        turned, start = self._turned(prior)
        found = []
        for inverse in self._inverses(strengths):
            weight = start + (turned * inverse) @ self.axes.T
            found.append(Weights(weight, self.target - weight @ self.mean))
        return found

    def held_out(self, prior: Prior, strengths: Sequence[float]) -> Float64:
        """Predict each unit from all others and the source.

        The bias is one more coordinate; the penalty stays what it is for all.

        Returns:
            ``(r, n, t)`` predictions at each strength.
        """
        problem, (turned, start) = self.problem, self._turned(prior)
        n, m = problem.x.shape
        inverses = self._inverses(strengths)
        # One product for all strengths; block by block, since only what is left is kept of it.
        fits = (turned * inverses[:, None, :]).reshape(-1, m).T
        z, residual = np.ones((n, m + 1)), np.empty((len(inverses), *problem.y.shape))
        for first in range(0, n, _BLOCK):
            rows = slice(first, first + _BLOCK)
            away = problem.x[rows] - self.mean
            z[rows, :m] = away @ self.axes
            base = problem.y[rows] - self.target - away @ start.T
            fitted = (z[rows, :m] @ fits).reshape(len(away), *residual.shape[::2])
            residual[:, rows] = base - fitted.transpose(1, 0, 2)
        wide = np.column_stack([inverses, np.full(len(inverses), 1 / self.total)])
        leave_out(z, problem.weight, problem.units, wide, residual)
        np.subtract(problem.y, residual, out=residual)
        return residual

    def _turned(self, prior: Prior) -> tuple[Float64, Float64]:
        """Return ``(t, m)`` what is left for the weights to explain, along the axes, and where they start."""
        if prior == "none" or self.problem.prior is None:
            return self.cross @ self.axes, np.zeros_like(self.cross)
        start = self.problem.prior
        return (self.cross - start @ self.scatter) @ self.axes, start

    def _inverses(self, strengths: Sequence[float]) -> Float64:
        return 1 / (self.values + np.array(strengths)[:, None] * self.total)
