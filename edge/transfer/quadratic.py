"""Minimise a convex quadratic over a box with a bounded sum: projected gradients, with a bound on what is left."""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...record import record

Float64 = NDArray[np.float64]
# Newton's steps onto the sum, which bisection guards, and how near is there.
_TRIES, _SUM = 100, 1e-13
# Losses that a new one is compared with, and the share of the expected descent that is asked for.
_MEMORY, _SUFFICIENT = 10, 1e-4
# Steps between two looks at the certificate.
_LOOK = 5


@record()
class Box:
    """The set ``0 <= x <= most, least_sum <= sum x <= most_sum``; some point of it with all x equal is on no bound.

    Args:
        most: Greatest coordinate.
        least_sum: Least sum.
        most_sum: Greatest sum.
    """

    most: float
    least_sum: float
    most_sum: float

    def nearest(self, x: Float64) -> Float64:
        """Return the point of the set that is nearest to ``(n,)`` coordinates."""
        result = np.clip(x, 0.0, self.most)
        total = float(result.sum())
        if self.least_sum <= total <= self.most_sum:
            return result
        goal = self.least_sum if total < self.least_sum else self.most_sum
        low, high, shift = float(x.min()) - self.most, float(x.max()), 0.0
        for _ in range(_TRIES):
            result = np.clip(x - shift, 0.0, self.most)
            over = float(result.sum()) - goal
            if abs(over) <= _SUM * goal:
                break
            low, high = (shift, high) if over > 0 else (low, shift)
            free = np.count_nonzero((result > 0) & (result < self.most))
            step = shift + over / free if free else low
            shift = step if low < step < high else (low + high) / 2
        return result

    def lowest(self, slope: Float64) -> Float64:
        """Return the point of the set where ``slope @ x`` is least, for an ``(n,)`` slope."""
        order = np.argsort(slope, kind="stable")
        wanted = min(max(self.most * np.count_nonzero(slope < 0), self.least_sum), self.most_sum)
        result = np.empty(len(slope))
        result[order] = np.clip(wanted - self.most * np.arange(len(slope)), 0.0, self.most)
        return result


@record(eq=False)
class Minimum:
    """What the search found.

    Args:
        x: ``(n,)`` the point.
        value: The loss there.
        gap: The loss is at most so much above the least one.
        steps: Steps taken.
    """

    x: Float64
    value: float
    gap: float
    steps: int


def descend(
    product: Callable[[Float64], Float64], linear: Float64, box: Box, *, tolerance: float = 1e-7, steps: int = 200
) -> Minimum:
    """Minimise ``1/2 x' K x - linear' x`` over a box with a bounded sum.

    Birgin, Martinez and Raydan 2000, "Nonmonotone spectral projected gradient methods on convex sets", with both step
    lengths of Barzilai and Borwein in turn. A step is one product with K, along which the loss is known exactly. By
    convexity ``gradient' (x - s)`` bounds the distance to the least loss, where s is the lowest point of the set along
    the gradient (Frank and Wolfe 1956). Fast where K is well conditioned; elsewhere the steps end first, and the
    bound says so.

    Args:
        product: Returns ``K x`` of ``(n,)`` coordinates; K is symmetric and positive semi-definite.
        linear: ``(n,)``.
        box: Where to look.
        tolerance: The gap to end at, as a share of the loss.
        steps: End after so many products.
    """
    n = len(linear)
    x = np.full(n, (max(box.least_sum / n, 0.0) + min(box.most_sum / n, box.most)) / 2)
    bent = product(x)
    value = _value(x, bent, linear)
    recent = deque([value], _MEMORY)
    length = 1 / (float(np.abs(bent - linear).max()) or 1.0)
    found = Minimum(x, value, np.inf, 0)
    for step in range(1, steps + 1):
        slope = bent - linear
        if step % _LOOK == 1 or step == steps:
            found = Minimum(x, value, max(float(slope @ (x - box.lowest(slope))), 0.0), step)
            if found.gap <= tolerance * abs(value):
                break
        direction = box.nearest(x - length * slope) - x
        fall = float(slope @ direction)
        if fall >= 0:
            # Rounding hides the way down.
            break
        along = product(direction)
        bend = max(float(direction @ along), 0.0)
        share = 1.0 if value + fall + bend / 2 <= max(recent) + _SUFFICIENT * fall else min(1.0, -fall / bend)
        x, bent = x + share * direction, bent + share * along
        value = _value(x, bent, linear)
        recent.append(value)
        square = float(along @ along)
        if bend > 0 and square > 0:
            length = float(direction @ direction) / bend if step % 2 else bend / square
    return found


def _value(x: Float64, bent: Float64, linear: Float64) -> float:
    return float(x @ bent) / 2 - float(linear @ x)
