"""The `lda` head: linear discriminant analysis in closed form, joint with the source."""

import numpy as np

from .closed import REGULARISATIONS, Scores, grid, solve
from .problem import Float64, Problem, Setting, Weights


class LDA:
    """Linear discriminant analysis with a shared covariance shrunk towards the identity, and equal class priors.

    With ``S`` the scatter within the classes and ``mu`` their means, of the local samples and the source together,
    each source sample counting ``source_weight``: ``weight = mu A^-1``, ``bias = -diag(mu A^-1 mu^T) / 2`` with
    ``A = (S + r t I) / ((1 + r) N)``, where ``N`` is the total weight less one per class, ``t`` the mean of the
    diagonal of ``S``, and ``r`` the regularisation (0: plain LDA, infinite: nearest mean). At source weight 1 this is
    training on the pooled samples, without having the source's. Classes whose samples have other weights than those of
    the others are as much more likely: the logarithm of their share is added to the bias.

    Friedman 1989, "Regularized Discriminant Analysis"; Ledoit and Wolf 2004 for the target of the shrinkage.
    """

    name = "lda"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return a grid over regularisation and, with a source, its weight."""
        return grid(self.name, problem, REGULARISATIONS)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Solve a linear system per setting. See `Head.solve`."""
        return solve(self, problem, settings)

    def strength(self, setting: Setting) -> float:
        """Return the regularisation. See `ClosedForm.strength`."""
        return setting.regularisation

    def mix(self, scores: Scores) -> tuple[Float64, Float64]:
        """Return the scores in units of the covariance. See `ClosedForm.mix`."""
        scale, share = (1 + scores.strengths) * scores.sums.freedom, scores.sums.share
        likely = np.log(np.where(share > 0, share, 1) * np.count_nonzero(share))
        return scale[:, None, None] * scores.cross, likely - scale[:, None] * scores.squares / 2
