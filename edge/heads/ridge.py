"""The `ridge` head: least squares on class indicators in closed form, joint with the source."""

import numpy as np

from .closed import REGULARISATIONS, Scores, grid, solve
from .problem import Float64, Problem, Setting, Weights


class Ridge:
    """Regularised least squares on class indicators, with a bias that is not regularised and balanced classes.

    Each class has a share ``p`` of the whole, equal for all unless their samples have other weights. With ``S`` the
    scatter within the classes and ``mu`` their means, of the local samples and the source together, each source sample
    counting ``source_weight``, it minimises ``sum_c p_c E|e_c - W x - b|^2 + r t / N |W|^2``, where each class has its
    own mean and the shared covariance ``S / N``, ``N`` is the total weight, ``t`` the mean of the diagonal of ``S`` and
    ``r`` the regularisation. The covariance is shared since the statistics hold one: with classes of one size this
    is ridge regression on the samples as it is, with others the larger classes say more about the covariance, as in
    LDA. At source weight 1 it is training on the pooled samples, without having the source's.

    Hoerl and Kennard 1970, "Ridge Regression"; Hastie, Tibshirani and Buja 1994, "Flexible Discriminant Analysis",
    for what it has to do with LDA.
    """

    name = "ridge"

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
        """Add the scatter between the classes to the one within. See `ClosedForm.mix`.

        With ``D`` the centred means, each times the root of its share, and ``P`` now the inverse of the regularised
        covariance within, the weights are ``(P^-1 + D^T D)^-1 D^T`` (Woodbury: ``P D^T (I + D P D^T)^-1``), each row
        times the root of its share.
        """
        n, share = float(scores.sums.count.sum()), scores.sums.share
        root, gram = np.sqrt(share), n * scores.gram
        towards = gram @ share
        centred = gram - towards[:, :, None] - towards[:, None, :] + (towards @ share)[:, None, None]
        matrix = root[:, None] * centred * root + np.eye(len(share))
        # Below version 2, numpy reads a right side of two axes as a stack of vectors.
        mixing = root[:, None] * np.linalg.solve(matrix, np.diag(root)[None])
        mixing -= share[:, None] * mixing.sum(axis=1, keepdims=True)
        # The bias makes the mean of all classes, each with its share, predict the shares.
        bias = share - (towards[:, None, :] @ mixing)[:, 0]
        return n * (scores.cross @ mixing), bias
