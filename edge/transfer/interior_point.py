"""Minimise a convex quadratic of low rank over a box with a bounded sum: a primal-dual interior point method."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .quadratic import Box, Minimum

Float64 = NDArray[np.float64]
# Of the way to the nearest bound, a step goes so far.
_SHY = 0.995
# Steps at most; a shorter step than the last is none.
_STEPS, _STUCK = 100, 1e-12


def minimise(factor: Float64, diagonal: Float64, linear: Float64, box: Box, *, tolerance: float = 1e-7) -> Minimum:
    """Minimise ``1/2 x' K x - linear' x`` with ``K = factor factor' + diag(diagonal)`` over a box with a bounded sum.

    Mehrotra 1992, "On the implementation of a primal-dual interior point method", with the products of Fine and
    Scheinberg 2001, "Efficient SVM training using low-rank kernel representations": a step costs ``n r^2``, never
    ``n^2``. The sum is a coordinate of its own, so that every step keeps it. By convexity ``gradient' (x - s)``
    bounds the distance to the least loss, where s is the lowest point of the set along the gradient (Frank and Wolfe
    1956): the search ends by that bound, and returns it.

    Args:
        factor: ``(n, r)``.
        diagonal: ``(n,)`` at least 0.
        linear: ``(n,)``.
        box: Where to look.
        tolerance: The gap to end at, as a share of the loss.
    """
    n = len(linear)
    even = (max(box.least_sum / n, 0.0) + min(box.most_sum / n, box.most)) / 2
    value = np.append(np.full(n, even), n * even)
    low, high = np.append(np.zeros(n), box.least_sum), np.append(np.full(n, box.most), box.most_sum)
    ties = np.append(np.ones(n), -1.0)
    best = Minimum(value[:-1], np.inf, np.inf, 0)
    slope = _gradient(factor, diagonal, linear, value[:-1])
    scale = float(np.abs(slope).max()) or 1.0
    down, up = np.full(n + 1, scale), np.full(n + 1, scale)
    for step in range(_STEPS):
        x = value[:-1]
        gap = max(float(slope[:-1] @ (x - box.lowest(slope[:-1]))), 0.0)
        loss = float((slope[:-1] - linear) @ x) / 2
        if gap < best.gap:
            best = Minimum(x, loss, gap, step)
        if gap <= tolerance * abs(loss):
            break
        above, below = value - low, high - value
        wall = down / above + up / below
        solve = _solver(factor, diagonal + wall[:-1], wall[-1])
        wrong = slope - down + up
        system = _System(above, below, down, up, wrong, ties, float(ties @ value), solve(ties), solve)
        move = system.move(np.zeros(n + 1), np.zeros(n + 1))
        reach = system.reach(move)
        centre, after = system.products(0.0, move), system.products(reach, move)
        aim = (after / centre) ** 3 * centre / (2 * n + 2)
        move = system.move(aim - move.value * move.down, aim + move.value * move.up)
        share = _SHY * system.reach(move)
        if not np.isfinite(share) or share < _STUCK:
            break
        value = value + share * move.value
        down, up = down + share * move.down, up + share * move.up
        slope = _gradient(factor, diagonal, linear, value[:-1])
    return best


@record(eq=False)
class _Move:
    """A step: of the ``(n + 1,)`` coordinates, and of the prices of both bounds."""

    value: Float64
    down: Float64
    up: Float64


@record(eq=False)
class _System:
    """Newton's equations at a point, in ``(n + 1,)`` coordinates, the last the sum of the others.

    Args:
        above: Distance from the lower bounds.
        below: Distance to the upper bounds.
        down: Prices of the lower bounds.
        up: Prices of the upper bounds.
        wrong: The gradient less the bounds' prices; the tie's price is found anew in each step.
        ties: 1, and -1 for the sum.
        untied: ``ties @ value``: rounding.
        tied: Solution for `ties`.
        solve: Solves with the quadratic and the walls.
    """

    above: Float64
    below: Float64
    down: Float64
    up: Float64
    wrong: Float64
    ties: Float64
    untied: float
    tied: Float64
    solve: Callable[[Float64], Float64]

    def move(self, low: Float64, high: Float64) -> _Move:
        """Return the step to ``above * down = low`` and ``below * up = high``."""
        free = self.solve(-self.wrong + low / self.above - self.down - high / self.below + self.up)
        price = -(self.untied + float(self.ties @ free)) / float(self.ties @ self.tied)
        value = free + price * self.tied
        down = (low - self.down * value) / self.above - self.down
        return _Move(value, down, (high + self.up * value) / self.below - self.up)

    def reach(self, move: _Move) -> float:
        """Return the share of a step, at most 1, that crosses no bound."""
        pairs = ((self.above, move.value), (self.below, -move.value), (self.down, move.down), (self.up, move.up))
        return min(1.0, *(_reach(array, step) for array, step in pairs))

    def products(self, share: float, move: _Move) -> float:
        """Return the sum of distances times prices after a share of a step."""
        lower = (self.above + share * move.value) @ (self.down + share * move.down)
        return float(lower + (self.below - share * move.value) @ (self.up + share * move.up))


def _gradient(factor: Float64, diagonal: Float64, linear: Float64, x: Float64) -> Float64:
    return np.append(factor @ (x @ factor) + diagonal * x - linear, 0.0)


def _solver(factor: Float64, diagonal: Float64, last: float) -> Callable[[Float64], Float64]:
    """Return a function that solves with ``factor factor' + diag(diagonal)`` and one more coordinate (Woodbury)."""
    scaled = factor / np.sqrt(diagonal)[:, None]
    inner = scaled.T @ scaled
    inner[np.diag_indices_from(inner)] += 1.0

    def solve(right: Float64) -> Float64:
        own = right[:-1] / diagonal
        return np.append(own - (factor @ np.linalg.solve(inner, own @ factor)) / diagonal, right[-1] / last)

    return solve


def _reach(array: Float64, step: Float64) -> float:
    """Return the share of a step that leaves an ``(n,)`` array at least 0."""
    falls = step < 0
    return float((array[falls] / -step[falls]).min()) if falls.any() else np.inf
