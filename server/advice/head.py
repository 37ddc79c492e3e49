"""The one classifier that every method of transfer fits: exact logistic regression, alike for all of them."""

from dataclasses import dataclass

import numpy as np

from ...edge.heads.conjugate import minimise
from ...edge.heads.logistic import Objective
from ...edge.transfer.weighting import effective_size
from .pair import Float64, Int64

# Penalty in units of the mean squared norm, times the effective number of samples: the same Gaussian prior on the
# weights for all methods, however many samples each is fitted to.
STRENGTH = 0.3
_TOLERANCE = 1e-4
# Of a class that no sample shows: its probability is 0.
_ABSENT = -1e3


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear classifier.

    Args:
        weight: ``(k, d)``.
        bias: ``(k,)``.
    """

    weight: Float64
    bias: Float64

    def __call__(self, x: Float64) -> Float64:
        """Return ``(n, k)`` probabilities of ``(n, d)`` samples."""
        return softmax(x @ self.weight.T + self.bias)


def softmax(logits: Float64) -> Float64:
    """Return the ``(n, k)`` probabilities of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Float64 = powers / powers.sum(axis=1, keepdims=True)
    return result


def fit_linear(
    x: Float64,
    y: Int64,
    k: int,
    weight: Float64 | None = None,
    *,
    towards: Linear | None = None,
    strength: float = STRENGTH,
) -> Linear:
    """Fit multinomial logistic regression with a quadratic penalty.

    Args:
        x: ``(n, d)`` samples.
        y: ``(n,)`` classes, 0 to k - 1.
        k: Number of classes; one that no sample with a weight shows gets probability 0.
        weight: ``(n,)`` weights of the samples, at least 0 and not all 0; None for equal ones.
        towards: Classifier that weights and biases are drawn to (L2-SP: Li, Grandvalet and Davoine 2018, "Explicit
            Inductive Bias for Transfer Learning"); by default the weights are drawn to 0. Classes that it shows stay
            possible without a sample.
        strength: Penalty in units of the mean squared norm, times the effective number of samples.

    Returns:
        The minimum.
    """
    given = np.ones(len(x)) if weight is None else weight
    kept = given > 0
    x, y, given = x[kept], y[kept], given[kept]
    shown = np.bincount(y, minlength=k) > 0
    if towards is not None:
        shown |= towards.bias > _ABSENT
    present = np.flatnonzero(shown)
    place = np.cumsum(shown) - 1
    square = max(float(given @ np.einsum("ij,ij->i", x, x) / given.sum()), 1e-12)
    penalty = np.full((1, 1, x.shape[1] + 1), strength / effective_size(given) * square)
    prior = np.zeros((len(present), 1, x.shape[1] + 1))
    if towards is None:
        penalty[..., -1] = 0
    else:
        prior[:, 0, :-1] = towards.weight[present]
        prior[:, 0, -1] = np.where(towards.bias[present] > _ABSENT, towards.bias[present], 0.0)
    theta = minimise(Objective(x, place[y], given / given.sum(), penalty, prior), prior, _TOLERANCE)
    found = Linear(np.zeros((k, x.shape[1])), np.full(k, _ABSENT))
    found.weight[present], found.bias[present] = theta[:, 0, :-1], theta[:, 0, -1]
    return found
