"""The objective of multinomial logistic regression, for several penalties at once."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...record import record

Real = NDArray[np.floating[Any]]
# So few rows OpenBLAS multiplies up to twice as fast from the right (float32, AVX-512), copying the product included.
_FEW = 64


@record(eq=False)
class Objective:
    """``sum_i w_i crossentropy_i + 1/2 sum penalty (theta - prior)^2``, for ``s`` penalties and priors.

    All share their samples, so that one wide matrix product serves them all. Classes come first in every array and
    samples last: sums over a few classes are then sums of long rows. Computes in the precision of ``x``.

    With equal weights, one penalty, none on the bias and priors of 0 it is scikit-learn's
    ``LogisticRegression(C=1 / (penalty * n))``.

    Args:
        x: ``(n, m) float32 or float64`` samples.
        y: ``(n,)`` classes, 0 to k - 1.
        weight: ``(n,)`` sample weights; their sum is 1.
        penalty: ``(k, s, m + 1)``, or ``(1, s, m + 1)`` where it is the same for all classes: strength of the pull on
            each weight, the bias last; at least 0.
        prior: ``(k, s, m + 1)`` what the weights are drawn towards.
    """

    x: Real
    y: NDArray[np.int64]
    weight: Real
    penalty: Real
    prior: Real

    def pick(self, chosen: NDArray[np.intp]) -> "Objective":
        """Return some of the ``s`` objectives."""
        return replace(self, penalty=self.penalty.take(chosen, axis=1), prior=self.prior.take(chosen, axis=1))

    def logits(self, theta: Real) -> Real:
        """Return the ``(k, s, n)`` logits of ``(k, s, m + 1)`` weights."""
        k, s, _ = theta.shape
        if not theta.any():
            return np.zeros((k, s, len(self.x)), theta.dtype)
        flat = theta[..., :-1].reshape(k * s, -1)
        if self.x.dtype == np.float32 and k * s <= _FEW:
            result: Real = np.ascontiguousarray((self.x @ flat.T).T)
        else:
            result = flat @ self.x.T
        result += theta[..., -1].reshape(k * s, 1)
        return result.reshape(k, s, -1)

    def value(self, theta: Real) -> Real:
        """Return the ``(s,)`` losses."""
        logits = self.logits(theta)
        logits -= logits.max(axis=0)
        each = np.log(np.exp(logits).sum(axis=0)) - self.of_own_class(logits)
        result: Real = each @ self.weight + 0.5 * (self.penalty * (theta - self.prior) ** 2).sum(axis=(0, 2))
        return result

    def gradient(self, away: Real, probability: Real) -> Real:
        """Return the gradients.

        Args:
            away: ``(k, s, m + 1)`` weights less the prior: a strong pull leaves little of it, which rounding must
                not hide.
            probability: ``(k, s, n)`` probabilities at these weights.

        Returns:
            ``(k, s, m + 1)``.
        """
        k, s, n = probability.shape
        error = probability * self.weight
        error[self.y, :, np.arange(n)] -= self.weight[:, None]
        result = np.empty_like(away)
        result[..., :-1] = (error.reshape(k * s, n) @ self.x).reshape(k, s, -1)
        result[..., -1] = error.sum(axis=2)
        result += self.penalty * away
        return result

    def of_own_class(self, logits: Real) -> Real:
        """Return what ``(k, s, n)`` arrays hold for each sample's own class, ``(s, n)``."""
        result: Real = logits[self.y, :, np.arange(len(self.y))].T
        return result

    def squares(self) -> Real:
        """Return the ``(m + 1,)`` mean squares of the samples' columns, the last that of the bias."""
        result = np.ones(self.x.shape[1] + 1, self.x.dtype)
        result[:-1] = np.einsum("ij,ij->j", self.x, self.x) / len(self.x)
        return result

    def scale(self, squares: Real) -> Real:
        """Return an estimate of the Hessian's diagonal that needs no probabilities, above 0, in the shape of `penalty`.

        It is the diagonal at equal probabilities. Where the columns of ``x`` are principal axes, little else is left.
        """
        k = len(self.prior)
        result: Real = self.penalty + (squares * ((1 - 1 / k) / k) + 1e-12).astype(self.x.dtype)
        return result


def probabilities(logits: Real) -> Real:
    """Return the ``(k, s, n)`` class probabilities of ``(k, s, n)`` logits."""
    result: Real = logits - logits.max(axis=0)
    np.exp(result, out=result)
    result /= result.sum(axis=0)
    return result


def inner(a: Real, b: Real) -> Real:
    """Return the ``(s,)`` inner products of ``(k, s, m + 1)`` arrays."""
    result: Real = np.einsum("ksm,ksm->s", a, b)
    return result
