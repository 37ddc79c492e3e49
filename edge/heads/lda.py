"""The `lda` head: linear discriminant analysis in closed form, joint with the source."""

import numpy as np

from .problem import ABSENT, Float64, Problem, Setting, SourceTerm, Weights, weighted_means
from .prototype import SOURCE_WEIGHTS

REGULARISATIONS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
# Of standardised coordinates: less is the rounding of the codes, and dividing by it would blow up the weights.
LEAST_VARIANCE = 1e-4
# Of a draft: residual against the right side, and an end to it where the coordinates are no principal axes.
DRAFT, MAX_ITERATIONS = 1e-4, 100
_TINY = np.float32(1e-30)


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
        found: dict[Setting, Weights] = {}
        for weight in dict.fromkeys(setting.source_weight for setting in settings):
            alike = [setting for setting in settings if setting.source_weight == weight]
            strengths = np.array([setting.regularisation for setting in alike])
            found |= zip(alike, _discriminants(*_pooled(problem, weight), strengths, draft=draft), strict=True)
        return [found[setting] for setting in settings]


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


def _discriminants(
    count: Float64, mean: Float64, scatter: Float64, strengths: Float64, *, draft: bool
) -> list[Weights]:
    m, present = len(scatter), count > 0
    freedom = max(count.sum() - present.sum(), 1.0)
    level = float(np.trace(scatter)) / m
    if level < LEAST_VARIANCE * freedom:
        # One sample a class, or all alike, and no source: nothing is known of the scatter; the identity stands for it.
        level = freedom
    ridges = strengths * level
    if draft:
        solutions = solve_ridges(scatter, ridges, mean.T)
    else:
        solutions = np.stack([np.linalg.solve(scatter + ridge * np.eye(m), mean.T) for ridge in ridges])
    weights = solutions.transpose(0, 2, 1) * ((1 + strengths) * freedom)[:, None, None]
    weights[:, ~present] = 0
    biases = np.where(present, -(weights * mean).sum(axis=2) / 2, ABSENT)
    return [Weights(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def solve_ridges(matrix: Float64, ridges: Float64, right: Float64) -> Float64:
    """Solve ``(matrix + ridge I) x = right`` for several ridges at once, to about three digits.

    Conjugate gradients on all columns together, in float32, with the diagonal as preconditioner: in coordinates that
    are principal axes the diagonal says nearly everything. Not a factorisation, since OpenBLAS spreads one of 200 rows
    over all cores and waits for them: beside another busy process that was 40 times slower.

    Args:
        matrix: ``(m, m)``, positive semidefinite.
        ridges: ``(r,)``, above 0.
        right: ``(m, k)``.

    Returns:
        ``(r, m, k)``.
    """
    (m, k), r = right.shape, len(ridges)
    # Single precision has a narrow range: everything is brought to about 1.
    unit = float(np.abs(np.diagonal(matrix)).max() + ridges.min())
    a, shift = (matrix / unit).astype(np.float32), np.repeat(ridges / unit, k).astype(np.float32)
    residual = np.tile(right.astype(np.float32), (1, r))
    norms = np.sqrt((residual**2).sum(axis=0))
    diagonal = np.diagonal(a)[:, None] + shift
    solution = np.zeros_like(residual)
    scaled = residual / diagonal
    direction = scaled
    product = (residual * scaled).sum(axis=0)
    for _ in range(MAX_ITERATIONS):
        bent = a @ direction
        bent += shift * direction
        length = product / np.maximum((direction * bent).sum(axis=0), _TINY)
        solution += length * direction
        residual -= length * bent
        left = np.sqrt((residual**2).sum(axis=0)) > DRAFT * norms
        if not left.any():
            break
        scaled = residual / diagonal
        # A column that is solved has a direction of 0 and stays as it is, whatever is solved beside it.
        before, product = product, np.where(left, (residual * scaled).sum(axis=0), 0)
        direction = np.where(left, scaled + product / np.maximum(before, _TINY) * direction, 0)
    result: Float64 = solution.reshape(m, r, k).transpose(1, 0, 2).astype(np.float64) / unit
    return result
