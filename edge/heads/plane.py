"""Minimise logistic objectives in planes, with Newton's method and no product with the samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .logistic import Objective, Real, inner, probabilities

MAX_TRIES = 40
# Of the slope at the start of a step, on its far side and on the near one: between these a step was about right.
_BEYOND, _SHORT = 0.25, 0.5
# Steps are about 1 long; where all probabilities are 0 or 1 the curvature vanishes, and Newton's step has no end.
_LONGEST, _TINY, _NO_END = 1e8, 1e-30, 1e30
Float64 = NDArray[np.float64]


@record(eq=False)
class Plane:
    """The losses in the span of two directions, as functions of how far to go along each.

    Args:
        weight: ``(n,)`` sample weights.
        logits: ``(k, s, n)`` at the start.
        along: ``(k, s, n)`` logits of each direction, less those of each sample's own class.
        pull: ``(s, 2)`` slopes of the penalty at the start.
        bend: ``(s, 2, 2)`` its curvature.
    """

    weight: Real
    logits: Real
    along: tuple[Real, Real]
    pull: Float64
    bend: Float64

    def at(self, length: Float64) -> Real:
        """Return the ``(k, s, n)`` logits at ``(s, 2)`` lengths."""
        return self.logits + combined(length, self.along)

    def slope(self, probability: Real, length: Float64) -> Float64:
        """Return the ``(s, 2)`` slopes at lengths with these ``(k, s, n)`` probabilities."""
        means = np.stack([np.einsum("ksn,ksn->sn", one, probability) for one in self.along], axis=1)
        result: Float64 = means @ self.weight + self.pull + _times(self.bend, length)
        return result

    def curvature(self, probability: Real) -> Float64:
        """Return the ``(s, 2, 2)`` curvatures.

        They are the covariance of the directions' logits over classes, averaged over samples, and the penalty's.
        """
        result, means = self.bend.copy(), []
        for place, one in enumerate(self.along):
            shares = one * probability
            means.append(shares.sum(axis=0))
            shares *= self.weight
            for other in range(place + 1):
                covariance = np.einsum("ksn,ksn->s", shares, self.along[other])
                covariance -= np.einsum("sn,sn,n->s", means[place], means[other], self.weight)
                result[:, place, other] += covariance
        result[:, 0, 1] = result[:, 1, 0]
        return result


def plane(
    objective: Objective, away: Real, logits: Real, directions: tuple[Real, Real], along: tuple[Real, Real]
) -> Plane:
    """Return a plane.

    Args:
        objective: The losses.
        away: ``(k, s, m + 1)`` the start less the prior.
        logits: ``(k, s, n)`` at the start.
        directions: ``(k, s, m + 1)`` each.
        along: ``(k, s, n)`` their logits; those of each sample's own class are taken off in place.
    """
    for one in along:
        one -= objective.of_own_class(one)
    drawn = [objective.penalty * one for one in directions]
    pull = np.stack([inner(one, away) for one in drawn], axis=1).astype(np.float64)
    bend = np.stack([np.stack([inner(one, other) for other in directions], axis=1) for one in drawn], axis=1)
    return Plane(objective.weight, logits, along, pull, bend.astype(np.float64))


def combined(length: Float64, parts: tuple[Real, Real]) -> Real:
    """Return the ``(k, s, ...)`` sum of two such parts, each by its lengths, ``(s, 2)``."""
    one, other = length.T[:, :, None].astype(parts[0].dtype)
    result: Real = one * parts[0]
    result += other * parts[1]
    return result


def lowest(plane: Plane, probability: Real, enough: Float64) -> tuple[Float64, Real, Real]:
    """Go to where Newton's method has nearly nothing left to gain.

    The loss is convex, so that its slope alone tells on which side of the minimum a point of a step lies, also where
    rounding hides differences of the loss itself.

    Args:
        plane: The losses.
        probability: ``(k, s, n)`` at the start.
        enough: ``(s,)`` end where Newton's step promises no more than half of this.

    Returns:
        How far to go, ``(s, 2)``, with logits and probabilities there; 0 where rounding hides the way.
    """
    length = np.zeros_like(plane.pull)
    inverse = _inverse(plane.curvature(probability), probability.dtype)
    step, gain = _newton(inverse, plane.slope(probability, length))
    flat = ~(gain > enough)
    share, low, high = np.ones_like(gain), np.zeros_like(gain), np.full_like(gain, _NO_END)
    for _ in range(MAX_TRIES):
        share[flat] = 0
        tried = length + share[:, None] * step
        logits = plane.at(tried)
        probability = probabilities(logits)
        slope = plane.slope(probability, tried)
        arrived = flat | (_newton(inverse, slope)[1] <= enough)
        if arrived.all():
            return tried, logits, probability
        ahead = (slope * step).sum(axis=1)
        beyond = ~(ahead <= _BEYOND * gain) & ~arrived
        short = (ahead < -_SHORT * gain) & (high < _NO_END) & ~arrived
        stands = ~(beyond | short)
        low, high = np.where(short, share, low), np.where(beyond, share, high)
        length = np.where(stands[:, None], tried, length)
        bend = plane.curvature(probability)
        inverse = np.where(stands[:, None, None], _inverse(bend, probability.dtype), inverse)
        # Where a step was much too long, or then too short, Newton's method goes on along it, between what is known.
        onward = share - ahead / np.maximum(np.einsum("sr,srq,sq->s", step, bend, step), _TINY)
        low, high = np.where(stands, 0, low), np.where(stands, _NO_END, high)
        between = np.where(low > 0, np.sqrt(low * high), high / 100)
        between = np.where((onward > low) & (onward < high), onward, between)
        new_step, new_gain = _newton(inverse, slope)
        step, gain = np.where(stands[:, None], new_step, step), np.where(stands, new_gain, gain)
        flat, share = arrived, np.where(stands, 1, between)
    length = length + low[:, None] * step
    logits = plane.at(length)
    return length, logits, probabilities(logits)


def _inverse(bend: Float64, precision: np.dtype[Any]) -> Float64:
    """Return the inverses of ``(s, 2, 2)`` curvatures; what vanishes or is parallel by rounding is kept apart."""
    size = np.sqrt(np.maximum(np.diagonal(bend, axis1=1, axis2=2), _TINY))
    result = 1 / (size[:, :, None] * size[:, None])
    most = 1 - 16 * float(np.finfo(precision).eps)
    alike = np.minimum(np.maximum(bend[:, 0, 1] * result[:, 0, 1], -most), most)
    result[:, 0, 1] *= -alike
    result[:, 1, 0] = result[:, 0, 1]
    result /= (1 - alike * alike)[:, None, None]
    return result


def _newton(inverse: Float64, slope: Float64) -> tuple[Float64, Float64]:
    """Return Newton's ``(s, 2)`` steps and twice what they promise to gain, ``(s,)``."""
    step = -_times(inverse, slope)
    gain: Float64 = -np.einsum("sr,sr->s", slope, step)
    return np.minimum(np.maximum(step, -_LONGEST), _LONGEST), gain


def _times(matrix: Float64, vector: Float64) -> Float64:
    """Return the ``(s, 2)`` products of ``(s, 2, 2)`` matrices and ``(s, 2)`` vectors."""
    result: Float64 = np.einsum("srq,sq->sr", matrix, vector)
    return result
