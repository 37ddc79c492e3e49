"""The weights with which a pool of verdicts has the least cross-entropy: a convex problem on the simplex."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Pool = Literal["log", "linear"]
# A probability of 0 would be a veto, whatever the others say.
LEAST = 1e-12
# Of the loss in nats: how far the weights may be from the best, and rounds that are made for it at most.
_TOLERANCE, _ROUNDS = 1e-9, 5_000


def best_weights(scores: Float64, y: Int64, pool: Pool, start: Float64) -> tuple[Float64, float, float]:
    """Minimise the cross-entropy of pooled verdicts: projected gradient with momentum, until the duality gap says so.

    Args:
        scores: ``(m, n, k)`` of each modality: logarithms of probabilities, or probabilities, as the pool averages.
        y: ``(n,)`` classes.
        pool: What is averaged.
        start: ``(m,)`` weights to begin with.

    Returns:
        The ``(m,)`` weights, their loss in nats, and by how much the best could lower it at most.
    """
    weight, ahead, momentum, step = start, start, 1.0, 1.0
    value, gradient = _loss(scores, y, pool, weight)
    for _ in range(_ROUNDS):
        gap = float(gradient @ weight - gradient.min())
        if gap <= _TOLERANCE:
            break
        at, slope = _loss(scores, y, pool, ahead)
        while True:
            new = on_simplex(ahead - step * slope)
            moved = new - ahead
            found, fresh = _loss(scores, y, pool, new)
            if found <= at + slope @ moved + moved @ moved / (2 * step) + 1e-15 or step < 1e-12:
                break
            step /= 2
        if found > value:
            # Momentum has carried too far: begin anew from the best.
            if momentum == 1.0:
                break
            ahead, momentum = weight, 1.0
            continue
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / after * (new - weight)
        weight, value, gradient, momentum, step = new, found, fresh, after, step * 1.25
    return weight, value, float(gradient @ weight - gradient.min())


def on_simplex(values: Float64) -> Float64:
    """Return the nearest point whose coordinates are 0 or more and add up to 1.

    References:
        Duchi et al. 2008, "Efficient Projections onto the l1-Ball for Learning in High Dimensions".
    """
    ordered = np.sort(values)[::-1]
    over = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    found: Float64 = np.maximum(values - over[np.flatnonzero(ordered > over)[-1]], 0)
    return found


def _loss(scores: Float64, y: Int64, pool: Pool, weight: Float64) -> tuple[float, Float64]:
    """Return the cross-entropy and its gradient; momentum may look beyond the simplex."""
    rows = np.arange(len(y))
    mixed = np.tensordot(weight, scores, 1)
    own = scores[:, rows, y]
    if pool == "linear":
        right = np.maximum(mixed[rows, y], LEAST)
        return float(-np.log(right).mean()), -(own / right).mean(axis=1)
    top = mixed.max(axis=1, keepdims=True)
    shares = np.exp(mixed - top)
    total = shares.sum(axis=1, keepdims=True)
    value = (np.log(total[:, 0]) + top[:, 0] - mixed[rows, y]).mean()
    expected = np.einsum("nk,mnk->mn", shares / total, scores)
    gradient: Float64 = (expected - own).mean(axis=1)
    return float(value), gradient
