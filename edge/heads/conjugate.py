"""Minimise logistic objectives: conjugate gradients, with Newton's method along each direction, or in a plane."""

import numpy as np

from ...record import record
from .logistic import Objective, Real, inner, probabilities
from .plane import Float64, combined, lowest, plane

MAX_STEPS, MAX_TRIES = 2_000, 40
# Where Newton's method along a line does not arrive in so many tries, the loss is far from quadratic.
LINE_TRIES = 2
# Of the slope at the start of a line: where so little is left, the search along it ends.
FLAT = 0.05
# Steps are about 1 long; where all probabilities are 0 or 1 the curvature vanishes, and Newton's step has no end.
_LONGEST, _TINY = 1e8, 1e-30


def minimise(objective: Objective, start: Real, tolerance: float, steps: int = MAX_STEPS) -> Real:
    """Minimise several objectives at once.

    Minka 2003, "A comparison of numerical optimizers for logistic regression", found this the best of eight methods:
    a step along a line needs the first and second derivative of the loss on it, and with the logits of the direction
    at hand these need no product with the samples. So a step costs two passes over the samples, one for the logits of
    the direction and one for the gradient. Directions as in Hager and Zhang 2005, "A new conjugate gradient method with
    guaranteed descent and an efficient line search", preconditioned by the Hessian's diagonal. Where the loss is far
    from quadratic these serve badly: then the step goes on in the plane of its direction and the last step, which needs
    no product either (Miele and Cantrell 1969, "Study on a memory gradient method for the minimization of functions").
    Deterministic. What is minimised leaves the others to go on.

    Args:
        objective: What to minimise; its samples set the precision. In float32, 1e-5 is about the least tolerance.
        start: ``(k, s, m + 1)``.
        tolerance: Stop when a gradient's norm is at most this share of what the samples give at equal probabilities.
        steps: Stop after so many steps.

    Returns:
        The minima, ``(k, s, m + 1)``.
    """
    theta = start.astype(objective.x.dtype)
    logits = objective.logits(theta)
    away: Real = theta - objective.prior
    found = objective.prior.copy()
    probability = probabilities(logits)
    squares, gradient = objective.squares(), objective.gradient(away, probability)
    even = gradient
    if theta.any() or objective.prior.any():
        even = objective.gradient(np.zeros_like(away), np.full_like(probability, 1 / len(probability)))
    # A gradient that is 0 has about the norm on the right after rounding.
    goal: Real = np.maximum(
        tolerance * np.sqrt(inner(even, even)), np.finfo(squares.dtype).eps * np.sqrt(squares.sum())
    )
    scale = objective.scale(squares)
    # The direction of the last step with its logits, and the gradient before it.
    last, moved, before = np.zeros_like(away), logits, gradient
    active = np.arange(away.shape[1])
    for step in range(steps):
        if step:
            before, gradient = gradient, objective.gradient(away, probability)
        going = np.sqrt(inner(gradient, gradient)) > goal
        if not going.all():
            found[:, active[~going]] += away[:, ~going]
            left = np.flatnonzero(going)
            active, goal, objective = active[left], goal[left], objective.pick(left)
            away, gradient, before, last, scale, logits, moved, probability = (
                array.take(left, axis=1) for array in (away, gradient, before, last, scale, logits, moved, probability)
            )
        if not len(active):
            return found
        direction = _conjugate(last, gradient, gradient - before, scale) * last - gradient / scale
        line = _line(objective, away, direction, logits)
        length, logits, probability, enough = _search(line, probability, LINE_TRIES if step else MAX_TRIES)
        if enough is None:
            last, moved, lengths = direction, line.along, length[:, None]
            away = away + length[:, None] * direction
        else:
            directions, along = (direction, last), (line.along, moved)
            further = plane(objective, away + length[:, None] * direction, logits, directions, along)
            lengths, logits, probability = lowest(further, probability, enough)
            lengths[:, 0] += length
            last, moved = combined(lengths, directions), combined(lengths, further.along)
            away = away + last
        # What rounding keeps from going down has arrived.
        goal = np.where(lengths.any(axis=1), goal, np.inf)
    found[:, active] += away
    return found


def _conjugate(direction: Real, gradient: Real, change: Real, scale: Real) -> Real:
    """Return how much of the last direction stays in the next, ``(s, 1)``; 0 where there is none, or none should."""
    scaled = change / scale
    bent = inner(direction, change)
    bent = np.where(bent > 0, bent, np.inf)
    share = inner(scaled, gradient) - 2 * inner(scaled, change) * inner(direction, gradient) / bent
    result: Real = np.maximum(share / bent, 0)[:, None]
    return result


@record(eq=False)
class _Line:
    """The losses along a direction, as functions of how far to go.

    Args:
        weight: ``(n,)`` sample weights.
        logits: ``(k, s, n)`` at the start.
        along: ``(k, s, n)`` logits of the direction.
        own: ``(s, n)`` those of each sample's own class.
        pull: ``(s,)`` slope of the penalty at the start.
        bend: ``(s,)`` its curvature.
    """

    weight: Real
    logits: Real
    along: Real
    own: Real
    pull: Real
    bend: Real

    def slope(self, length: Real, mean: Real) -> Real:
        """Return the ``(s,)`` slopes, from the ``(s, n)`` mean of `along` under the probabilities there."""
        result: Real = (mean - self.own) @ self.weight + self.pull + length * self.bend
        return result

    def curvature(self, probability: Real, mean: Real) -> Real:
        """Return the ``(s,)`` curvatures: the variance of `along`, averaged over samples, and the penalty's."""
        away = self.along - mean
        away *= away
        result: Real = _over_classes(probability, away) @ self.weight + self.bend
        return result


def _line(objective: Objective, away: Real, direction: Real, logits: Real) -> _Line:
    along = objective.logits(direction)
    drawn = objective.penalty * direction
    pull, bend = inner(drawn, away), inner(drawn, direction)
    return _Line(objective.weight, logits, along, objective.of_own_class(along), pull, bend)


def _search(line: _Line, probability: Real, tries: int) -> tuple[Real, Real, Real, Float64 | None]:
    """Go along lines until their slopes have nearly vanished.

    The loss is convex, so that its slope alone tells on which side of the minimum a point lies, also where rounding
    hides differences of the loss itself.

    Args:
        line: The losses.
        probability: ``(k, s, n)`` at the start.
        tries: How many points to look at.

    Returns:
        How far to go, ``(s,)``, with logits and probabilities there; 0 where rounding hides the way. Last, where the
        tries were too few, twice the gain ``(s,)`` from which on what is left is nothing, else None.
    """
    length = np.zeros_like(line.pull)
    low, high = length, np.full_like(length, 2 * _LONGEST)
    mean = _over_classes(probability, line.along)
    slope = line.slope(length, mean)
    enough = FLAT * np.abs(slope)
    flat = np.zeros(len(length), np.bool_)
    curvature = first = np.maximum(line.curvature(probability, mean), _TINY)
    for tried in range(tries):
        if tried:
            curvature = np.maximum(line.curvature(probability, mean), _TINY)
        step = np.minimum(length - slope / curvature, _LONGEST)
        between = np.where(low > 0, np.sqrt(low * high), high / 100)
        length = np.where(flat, length, np.where((step > low) & (step < high), step, between))
        logits = line.logits + length[:, None] * line.along
        probability = probabilities(logits)
        mean = _over_classes(probability, line.along)
        slope = line.slope(length, mean)
        flat = np.abs(slope) <= enough
        if flat.all():
            return length, logits, probability, None
        low, high = np.where(slope < 0, length, low), np.where(slope > 0, length, high)
    length = np.where(flat, length, low)
    logits = line.logits + length[:, None] * line.along
    left = enough.astype(np.float64) ** 2 / first if tries < MAX_TRIES else None
    return length, logits, probabilities(logits), left


def _over_classes(a: Real, b: Real) -> Real:
    """Return the ``(s, n)`` inner products over classes of ``(k, s, n)`` arrays."""
    result: Real = np.einsum("ksn,ksn->sn", a, b)
    return result
