"""LogME: the evidence of a linear model from latents to labels, which needs no training.

You, Liu, Wang and Long 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from .checks import Float64, check_classes, check_latents, one_hot

# The ratio of the two precisions is searched between these, in units of the greatest eigenvalue of the second moment.
_LEAST, _MOST, _GRID = 1e-10, 1e10, 81
# Steps of golden section: the bracket is then as narrow as rounding lets a maximum be told.
_STEPS = 48


def logme(latents: ArrayLike, labels: ArrayLike) -> float:
    """Return the logarithm of the maximum evidence of the labels given the latents, in nats per sample and class.

    The mean over the classes of `log_evidence`, each class as targets of 0 and 1. Higher is better; values compare
    sources on the same samples and mean nothing by themselves.

    Args:
        latents: ``(n, d)``, n and d in any proportion; constant columns and equal rows are allowed.
        labels: ``n`` whole numbers or texts, at least two classes.

    Raises:
        InputError: If latents are not finite numbers ``(n, d)``.
        LabelError: If labels do not fit, or are all of one class.
    """
    x = check_latents(latents)
    y, k = check_classes(labels, len(x))
    return float(log_evidence(x, one_hot(y, k)).mean())


def log_evidence(latents: ArrayLike, targets: ArrayLike) -> Float64:
    """Return the maximum evidence of ``y = F w + noise``, ``w ~ N(0, 1/alpha)``, ``noise ~ N(0, 1/beta)``.

    ``ln p(y) = n/2 ln(beta) + d/2 ln(alpha) - n/2 ln(2 pi) - beta/2 |F m - y|^2 - alpha/2 |m|^2 - 1/2 ln|A|`` with
    ``A = alpha I + beta F^T F`` and ``m = beta A^-1 F^T y``. ``ln|A|`` holds ``(d - r) ln(alpha)`` for the directions
    that latents of rank r leave out. For a given ``alpha / beta`` the best ``beta`` is known in closed form; what is
    left is a search along one line, over a grid and then by golden section, which ends at the global maximum.

    Where the latents fit a target without an error, the evidence would be infinite: ``alpha / beta`` counts as at least
    1e-10 of the greatest eigenvalue of ``F^T F``.

    Args:
        latents: ``(n, d)``.
        targets: ``(n,)`` or ``(n, t)`` numbers.

    Returns:
        ``(t,)`` in nats per sample.

    Raises:
        InputError: If they are not finite numbers of these shapes, or a target is all 0.
    """
    x, given = check_latents(latents), np.asarray(targets)
    y = check_latents(given[:, None] if given.ndim == 1 else given)
    square = (y**2).sum(axis=0)
    if len(y) != len(x) or not square.all():
        raise InputError(
            f"expected targets for {len(x)} samples, none of them all 0, found {len(y)} rows, sums of squares from "
            f"{square.min():g}. Leave out targets that say nothing."
        )
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    explained, eigen = ((left.T @ y) ** 2).T, singular**2
    noise = np.maximum(square - explained.sum(axis=1), 0)
    scale = float(eigen.max()) or 1.0

    def evidence(ratio: Float64) -> Float64:
        """Return the evidence ``(t,)`` at ``alpha / beta``, one for each target or one for all."""
        # Along each direction, the share of the target that the prior leaves unexplained.
        share = 1 / (1 + eigen / ratio[:, None])
        quadratic = noise + (share * explained).sum(axis=1)
        result: Float64 = (np.log(len(x) / quadratic) - 1 - np.log(2 * np.pi) + np.log(share).sum(axis=1) / len(x)) / 2
        return result

    grid = np.linspace(np.log(_LEAST * scale), np.log(_MOST * scale), _GRID)
    best = np.array([evidence(np.exp(place[None])) for place in grid]).argmax(axis=0)
    return _highest(evidence, grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)])


def _highest(evidence: Callable[[Float64], Float64], low: Float64, high: Float64) -> Float64:
    """Return the maximum of each target's evidence over ``ln(alpha / beta)`` in its bracket, by golden section."""
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = evidence(np.exp(left)), evidence(np.exp(right))
    for _ in range(_STEPS):
        lower = at_left >= at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        probe = np.where(lower, high - golden * (high - low), low + golden * (high - low))
        found = evidence(np.exp(probe))
        left, right, at_left, at_right = (
            np.where(lower, probe, right),
            np.where(lower, left, probe),
            np.where(lower, found, at_right),
            np.where(lower, at_left, found),
        )
    return np.maximum(at_left, at_right)
