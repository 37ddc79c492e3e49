"""The `lda` head: linear discriminant analysis in closed form, joint with the source."""

import numpy as np

from .problem import ABSENT, Float64, Problem, Setting, SourceTerm, Weights, weighted_means
from .prototype import SOURCE_WEIGHTS

REGULARISATIONS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
# Of standardised coordinates: less is the rounding of the codes, and dividing by it would blow up the weights.
LEAST_VARIANCE = 1e-4


class LDA:
    """Linear discriminant analysis with a shared covariance shrunk towards the identity, and equal class priors.

    With ``S`` the scatter within the classes and ``mu`` their means, of the local samples and the source together,
    each source sample counting ``source_weight``: ``weight = mu A^-1``, ``bias = -diag(mu A^-1 mu^T) / 2`` with
    ``A = (S + r t I) / ((1 + r) N)``, where ``N`` is the total weight less one per class, ``t`` the mean of the
    diagonal of ``S``, and ``r`` the regularisation (0: plain LDA, infinite: nearest mean). At source weight 1 this is
    training on the pooled samples, without having the source's.

    Friedman 1989, "Regularized Discriminant Analysis"; Ledoit and Wolf 2004 for the target of the shrinkage.
    """

    name = "lda"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return a grid over regularisation and, with a source, its weight."""
        weights = SOURCE_WEIGHTS if problem.source is not None else (0.0,)
        return tuple(Setting(self.name, r, weight) for weight in weights for r in REGULARISATIONS)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Solve a linear system per setting. See `Head.solve`."""
        by_weight = {w: _pooled(problem, w) for w in dict.fromkeys(s.source_weight for s in settings)}
        return [_discriminants(*by_weight[s.source_weight], s.regularisation, draft=draft) for s in settings]


def _pooled(problem: Problem, weight: float) -> tuple[Float64, Float64, Float64]:
    count, mean = weighted_means(problem, weight)
    centred = problem.x - mean[problem.y]
    scatter: Float64 = centred.T @ centred
    if problem.source is not None and weight > 0:
        scatter += weight * _about(problem.source, mean)
    return count, mean, scatter


def _about(source: SourceTerm, mean: Float64) -> Float64:
    """Return the source's scatter about other class means than its own."""
    moved = (source.mean - mean) * np.sqrt(source.count)[:, None]
    result: Float64 = source.scatter + moved.T @ moved
    return result


def _discriminants(count: Float64, mean: Float64, scatter: Float64, r: float, *, draft: bool) -> Weights:
    m, present = len(scatter), count > 0
    freedom = max(count.sum() - present.sum(), 1.0)
    level = float(np.trace(scatter)) / m
    if level < LEAST_VARIANCE * freedom:
        # One sample a class, or all alike, and no source: nothing is known of the scatter; the identity stands for it.
        level = freedom
    matrix = scatter / ((1 + r) * freedom)
    matrix[np.diag_indices(m)] += r * level / ((1 + r) * freedom)
    precision = np.float32 if draft else np.float64
    weight = np.linalg.solve(matrix.astype(precision), mean.T.astype(precision)).T.astype(np.float64)
    bias = -(weight * mean).sum(axis=1) / 2
    return Weights(np.where(present[:, None], weight, 0), np.where(present, bias, ABSENT))
