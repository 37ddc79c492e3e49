"""A place without labels as a mixture of its classes: expectation and maximisation around what the source knows."""

from dataclasses import replace

import numpy as np

from ...record import record
from ..statistics import Float64

# Prior samples of each class at its share in the source: what few samples say of the mix of classes is drawn to it.
PRIOR_SAMPLES = 5.0
# As many samples does a class's mean take to leave half-way from where the others have moved.
MEAN_SAMPLES = 5.0
_STEPS, _SCALE_STEPS = 40, 20
_LEAST_VARIANCE, _TINY = 1e-3, 1e-12


@record(eq=False)
class Mixture:
    """Gaussian classes with one round covariance, in the space that the head sees.

    The source's covariance is the identity there, as far as the samples say that the head was trained on: fresh ones
    scatter more widely, so that its size is estimated.

    Args:
        mean: ``(k, m)``.
        prior: ``(k,)``, adds up to 1.
        variance: In each direction.
    """

    mean: Float64
    prior: Float64
    variance: float = 1.0

    def look(self, u: Float64) -> tuple[Float64, Float64]:
        """Return the ``(n, k)`` posteriors of ``(n, m)`` samples, and the ``(n,)`` logarithms of their densities."""
        joint = -self.distances(u) / (2 * self.variance) + np.log(np.maximum(self.prior, _TINY))
        top = joint.max(axis=1, keepdims=True)
        likely = np.exp(joint - top)
        total = likely.sum(axis=1, keepdims=True)
        level = u.shape[1] / 2 * np.log(2 * np.pi * self.variance)
        return likely / total, (top + np.log(total))[:, 0] - level

    def distances(self, u: Float64) -> Float64:
        """Return the ``(n, k)`` squared distances to the class means."""
        found: Float64 = (u**2).sum(axis=1)[:, None] - 2 * u @ self.mean.T + (self.mean**2).sum(axis=1)
        return np.maximum(found, 0)


def place(u: Float64, home: Mixture, *, apart: bool = False) -> tuple[Mixture, Float64, Float64]:
    """Find where the classes of the source are in a place without labels.

    Expectation and maximisation (Dempster, Laird and Rubin 1977), begun where the means of all samples agree: what all
    classes have moved by together, the mix of classes drawn to the source's, and the size of the covariance; with
    `apart` what each class has moved by on its own too, drawn to none (semi-supervised discriminant analysis without
    any label; compare Iwasawa and Matsuo 2021, "Test-Time Classifier Adjustment Module", which moves prototypes by
    pseudo-labels).

    Args:
        u: ``(n, m)`` samples.
        home: The source.
        apart: Whether classes may move on their own.

    Returns:
        The mixture here, the ``(m,)`` common step, and the ``(k, m)`` own steps.
    """
    n, m = u.shape
    pulled, moved, own = PRIOR_SAMPLES * len(home.prior) * home.prior, u.mean(axis=0) - home.prior @ home.mean, 0.0
    steps = np.zeros_like(home.mean)
    now = replace(home, mean=home.mean + moved)
    now = replace(now, variance=max(float(now.distances(u).min(axis=1).mean()) / m, _LEAST_VARIANCE))
    for _ in range(_STEPS):
        share = now.look(u)[0]
        count = share.sum(axis=0)
        sums, own = share.T @ u, count[:, None]
        moved = (sums - own * (home.mean + steps)).sum(axis=0) / n
        if apart:
            steps = (sums - own * (home.mean + moved)) / (own + MEAN_SAMPLES)
        now = Mixture(home.mean + moved + steps, (count + pulled) / (n + pulled.sum()), now.variance)
        spread = float(np.vdot(share, now.distances(u))) / (n * m)
        now = replace(now, variance=max(spread, _LEAST_VARIANCE))
    return now, moved, steps


def scaled(u: Float64, mean: Float64, home: Mixture) -> Mixture:
    """Fit mix of classes and size of the covariance to ``(n, m)`` samples, with the ``(k, m)`` class means held."""
    n, m = u.shape
    now = Mixture(mean, home.prior)
    now = replace(now, variance=max(float(now.distances(u).min(axis=1).mean()) / m, _LEAST_VARIANCE))
    for _ in range(_SCALE_STEPS):
        share = now.look(u)[0]
        prior = (share.sum(axis=0) + len(home.prior) * home.prior) / (n + len(home.prior))
        spread = float(np.vdot(share, now.distances(u))) / (n * m)
        now = Mixture(mean, prior, max(spread, _LEAST_VARIANCE))
    return now
