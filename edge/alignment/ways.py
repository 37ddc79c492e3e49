"""Ways to align a head without labels, each with what it assumes; all are linear in the space that the head sees."""

from collections.abc import Sequence

import numpy as np

from ...record import record
from ..statistics import Float64
from ..transfer.coral import coral_map_back
from .mixture import Mixture, place
from .space import HeadSpace

# In the order of what they assume, from the most to the least.
WAYS = ("shift", "balanced shift", "coral", "prototypes")
_LEAST = 1e-9


@record(eq=False)
class Way:
    """One way of aligning, fitted.

    A sample ``u`` is taken to be the source's ``matrix @ u + offset``, whose class means are `mean`.

    Args:
        matrix: ``(m, m)``.
        offset: ``(m,)``.
        mean: ``(k, m)`` the class means, after the map.
        weight: ``(k, m)`` the head on samples as they are here: the map is folded in.
        bias: ``(k,)``.
    """

    matrix: Float64
    offset: Float64
    mean: Float64
    weight: Float64
    bias: Float64

    def logits(self, u: Float64) -> Float64:
        """Return ``(n, k)`` logits, but for a term that all classes share."""
        found: Float64 = u @ self.weight.T + self.bias
        return found

    def probabilities(self, u: Float64) -> Float64:
        """Return ``(n, k)`` probabilities."""
        logits = self.logits(u)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Float64 = likely / likely.sum(axis=1, keepdims=True)
        return found


def none(space: HeadSpace) -> Way:
    """Return the shipped head as it is."""
    m = len(space.projection)
    return Way(np.eye(m), np.zeros(m), space.mean, space.weight, space.bias)


def fit_ways(space: HeadSpace, u: Float64) -> dict[str, Way]:
    """Align in every way.

    * ``shift``: all classes have moved together, and occur as often as in the source; by the difference of the means.
    * ``balanced shift``: they have moved together, and may occur more or less often than in the source: the source's
      mean is taken with the mix of classes that the mixture finds here.
    * ``coral``: besides, spread and correlations have changed alike for all (Sun, Feng and Saenko 2016, "Return of
      Frustratingly Easy Domain Adaptation"), with the same mix; of few samples the covariance is drawn to the source's.
    * ``prototypes``: each class has moved on its own too, the less the fewer samples it has.

    Args:
        space: What the head sees.
        u: ``(n, m)`` samples in it.

    Returns:
        The ways, by name.
    """
    home = Mixture(space.mean, space.prior)
    together, _, _ = place(u, home)
    _, moved, steps = place(u, home, apart=True)
    eye, centre = np.eye(u.shape[1]), u.mean(axis=0)
    matrix, offset = coral(u, home, together.prior)
    return {
        "shift": _mapped(space, eye, space.prior @ space.mean - centre),
        "balanced shift": _mapped(space, eye, together.prior @ space.mean - centre),
        "coral": _mapped(space, matrix, offset),
        "prototypes": _moved(space, -moved, steps),
    }


def coral(u: Float64, home: Mixture, prior: Float64) -> tuple[Float64, Float64]:
    """Return the map of samples here into the source: whitened here, coloured as there.

    Args:
        u: ``(n, m)`` samples.
        home: The source's classes, their covariance the identity.
        prior: ``(k,)`` mix of classes here: the source's mean and covariance are taken with it.

    Returns:
        ``(m, m)`` matrix and ``(m,)`` offset.
    """
    n, m = u.shape
    mean, centre = prior @ home.mean, u.mean(axis=0)
    apart = home.mean - mean
    there = np.eye(m) + (apart * prior[:, None]).T @ apart
    here = (u - centre).T @ (u - centre) / n
    drawn = m / (n + m)
    found = coral_map_back(mean, there, centre, (1 - drawn) * here + drawn * there, ridge=_LEAST)
    return found.matrix, found.offset


def together(ways: Sequence[Way]) -> tuple[Float64, Float64]:
    """Return the mean of several ways, ``(k, m)`` weights and ``(k,)`` biases: a head again, since each is linear.

    No criterion without labels tells for sure which assumption holds; their mean is hardly worse than the best of them,
    and does not follow one that goes astray.
    """
    weight: Float64 = np.mean([way.weight for way in ways], axis=0)
    bias: Float64 = np.mean([way.bias for way in ways], axis=0)
    return weight, bias


def _mapped(space: HeadSpace, matrix: Float64, offset: Float64) -> Way:
    return Way(matrix, offset, space.mean, space.weight @ matrix, space.bias + space.weight @ offset)


def _moved(space: HeadSpace, offset: Float64, steps: Float64) -> Way:
    """Return the shipped head where classes have moved apart by ``(k, m)`` steps besides.

    Moving a class's mean adds the step to its row of a linear discriminant; the shipped head's rows are such means, but
    for a factor that tells how sure it is.
    """
    rows, means = space.weight - space.weight.mean(axis=0), space.mean - space.mean.mean(axis=0)
    sure = float(np.vdot(rows, means)) / max(float(np.vdot(means, means)), _LEAST)
    weight = space.weight + max(sure, 0.0) * steps
    far = ((space.mean + steps) ** 2).sum(axis=1) - (space.mean**2).sum(axis=1)
    bias = space.bias - max(sure, 0.0) * far / 2 + weight @ offset
    return Way(np.eye(len(offset)), offset, space.mean + steps, weight, bias)
