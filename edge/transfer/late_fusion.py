"""Late fusion: the verdicts of several modalities on one sample, pooled.

It needs nothing but probabilities, so the modalities may have different heads, and one may be missing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...record import record
from .checks import check_numbers
from .pool_weights import LEAST, Pool, best_weights

Float64 = NDArray[np.float64]


@record(eq=False)
class LateFusion:
    """Weights of the verdicts of several modalities.

    Args:
        weight: ``(m,)``, 0 or more, adding up to 1.
        pool: ``"log"`` for the geometric mean of probabilities, ``"linear"`` for the arithmetic one.
        loss: Held-out cross-entropy in nats with these weights; NaN where they were given.
        gap: By how much the best weights on these samples could lower it at most; NaN likewise.

    Raises:
        InputError: If these are no such weights, or the pool is none of those that there are.
    """

    weight: Float64
    pool: Pool = "log"
    loss: float = float("nan")
    gap: float = float("nan")

    def __post_init__(self) -> None:
        """Check weights and pool."""
        _pool(self.pool)
        weight = np.asarray(self.weight)
        if (
            weight.ndim != 1
            or weight.dtype.kind not in "fiu"
            or not (weight >= 0).all()
            or abs(weight.sum() - 1) > 1e-6
        ):
            raise InputError(f"expected weights (m,) of 0 or more that add up to 1, found {self.weight!r:.200}.")

    def apply(self, probabilities: Sequence[NDArray[np.floating]]) -> Float64:
        """Return ``(n, k)`` probabilities of all modalities together.

        Args:
            probabilities: Of each modality ``(n, k)``, rows adding up to 1.

        Raises:
            InputError: If number or shapes differ, or they are no probabilities.
        """
        found = _probabilities(probabilities)
        if len(found) != len(self.weight):
            raise InputError(
                f"expected {len(self.weight)} modalities, found {len(found)}. Give them as they were fitted."
            )
        if self.pool == "linear":
            mixed: Float64 = np.tensordot(self.weight, found, 1)
            return mixed
        return _softmax(np.tensordot(self.weight, np.log(np.maximum(found, LEAST)), 1))


def equal_weights(modalities: int, pool: Pool = "log") -> LateFusion:
    """Return the fusion that asks each modality alike: a plain mean.

    Raises:
        InputError: If there are none, or the pool is none of those that there are.
    """
    if modalities < 1:
        raise InputError(f"expected one modality or more, found {modalities}.")
    return LateFusion(np.full(modalities, 1 / modalities), _pool(pool))


def fit_late(
    probabilities: Sequence[NDArray[np.floating]], y: NDArray[np.integer], *, pool: Pool = "log"
) -> LateFusion:
    """Choose weights by the cross-entropy of held-out samples.

    The loss is convex in the weights for either pool (of logarithms it is a log-sum-exp of what is linear in them; of
    probabilities, minus a logarithm of it), so that the best are found from any start: projected gradient with
    momentum, until the duality gap says so.

    Args:
        probabilities: Of each modality ``(n, k)`` on samples that its head was not fitted on: what fits its own
            training samples is trusted too much.
        y: ``(n,)`` classes, 0 to k - 1.
        pool: What is averaged: ``"log"`` (Genest and Zidek 1986, "Combining Probability Distributions") lets a modality
            rule a class out; ``"linear"`` asks for one that believes in it.

    Returns:
        The weights. Modalities that say the same share the weight that one of them would have, in any way.

    Raises:
        InputError: If shapes differ, they are no probabilities, or a class is none of theirs.
    """
    _pool(pool)
    found = _probabilities(probabilities)
    m, n, k = found.shape
    labels = np.asarray(y)
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < k)).all():
        raise InputError(f"expected {n} classes from 0 to {k - 1}, found shape {labels.shape} of {labels.dtype}.")
    floored = np.maximum(found, LEAST)
    scores = np.log(floored) if pool == "log" else floored
    weight, value, gap = best_weights(scores, labels.astype(np.int64), pool, np.full(m, 1 / m))
    return LateFusion(weight, pool, value, gap)


def _softmax(logits: Float64) -> Float64:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Float64 = shares / shares.sum(axis=1, keepdims=True)
    return result


def _probabilities(given: Sequence[NDArray[np.floating]]) -> Float64:
    found = [check_numbers(one, "probabilities") for one in given]
    if not found or any(one.shape != found[0].shape or one.ndim != 2 or not one.size for one in found):
        raise InputError(
            f"expected probabilities (n, k) of one modality or more, of the same samples and classes, found "
            f"{[one.shape for one in found]}."
        )
    stacked = np.stack(found)
    if not np.isfinite(stacked).all() or stacked.min() < 0 or np.abs(stacked.sum(axis=2) - 1).max() > 1e-3:
        raise InputError("expected rows of 0 or more that add up to 1, found others. Give probabilities, not logits.")
    return stacked


def _pool(pool: Pool) -> Pool:
    if pool not in ("log", "linear"):
        raise InputError(f"expected pool to be 'log' or 'linear', found {pool!r:.80}.")
    return pool
