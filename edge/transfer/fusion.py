"""Several looks at one sample, joined: the latents of each modality side by side, or the verdicts of each pooled.

Late fusion needs nothing but probabilities, so the modalities may have different heads, and one may be missing.
Concatenation lets one head weigh every dimension, and needs samples that have all of them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...record import record

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Pool = Literal["log", "linear"]
# A probability of 0 would be a veto, whatever the others say.
_LEAST = 1e-12
# Of the loss in nats: how far the weights may be from the best, and rounds that are made for it at most.
_TOLERANCE, _ROUNDS = 1e-9, 5_000


@record(eq=False)
class Concatenation:
    """Latents of several modalities, standardised each by its own training samples, side by side.

    Args:
        mean: Of each modality ``(d,)``.
        scale: Of each modality ``(d,)``: what is divided by.
    """

    mean: tuple[Float64, ...]
    scale: tuple[Float64, ...]

    @classmethod
    def fit(cls, parts: Sequence[NDArray[np.floating]], *, balance: bool = False) -> "Concatenation":
        """Take mean and standard deviation of each dimension.

        Args:
            parts: Of each modality ``(n, d)``, the same samples in the same order.
            balance: Divide each modality by the root of its width as well, so that one with many dimensions does not
                outweigh one with few in distances and penalties.

        Returns:
            The concatenation. A dimension that never changes is centred and not divided.

        Raises:
            InputError: If a part has no rows, others than the first, something that is not finite, or values so great
                that their variance is not.
        """
        found = _parts(parts)
        mean, scale = [], []
        for x in found:
            with np.errstate(over="ignore", invalid="ignore"):
                spread = x.std(axis=0)
            if not np.isfinite(spread).all():
                raise InputError(
                    f"expected latents of finite variance, found values up to {np.abs(x).max():.3g}. Scale them down."
                )
            # Rounding makes a spread of what never changes.
            constant = spread <= 1e-12 * np.maximum(1.0, np.abs(x).max(axis=0))
            mean.append(x.mean(axis=0))
            scale.append(np.where(constant, 1.0, spread) * (np.sqrt(x.shape[1]) if balance else 1.0))
        return cls(tuple(mean), tuple(scale))

    def apply(self, parts: Sequence[NDArray[np.floating]]) -> Float64:
        """Return ``(n, sum of d)`` of the modalities of `fit`, in their order.

        Raises:
            InputError: If number, widths or rows of the parts differ from what was fitted, or something is not finite,
                as it is or standardised.
        """
        found = _parts(parts)
        widths, wanted = [x.shape[1] for x in found], [len(mean) for mean in self.mean]
        if widths != wanted:
            raise InputError(f"expected modalities of widths {wanted}, found {widths}. Give them as they were fitted.")
        with np.errstate(over="ignore"):
            pieces = [(x - m) / s for x, m, s in zip(found, self.mean, self.scale, strict=True)]
        joined = np.concatenate(pieces, axis=1)
        if not np.isfinite(joined).all():
            raise InputError("expected latents of the size of those fitted, found some that overflow. Check the model.")
        return joined


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
        return _softmax(np.tensordot(self.weight, np.log(np.maximum(found, _LEAST)), 1))


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
    floored = np.maximum(found, _LEAST)
    scores = np.log(floored) if pool == "log" else floored
    weight, value, gap = _minimise(scores, labels.astype(np.int64), pool, np.full(m, 1 / m))
    return LateFusion(weight, pool, value, gap)


def on_simplex(values: Float64) -> Float64:
    """Return the nearest point whose coordinates are 0 or more and add up to 1.

    References:
        Duchi et al. 2008, "Efficient Projections onto the l1-Ball for Learning in High Dimensions".
    """
    ordered = np.sort(values)[::-1]
    over = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    found: Float64 = np.maximum(values - over[np.flatnonzero(ordered > over)[-1]], 0)
    return found


def _minimise(scores: Float64, y: Int64, pool: Pool, start: Float64) -> tuple[Float64, float, float]:
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


def _loss(scores: Float64, y: Int64, pool: Pool, weight: Float64) -> tuple[float, Float64]:
    """Return the cross-entropy and its gradient; momentum may look beyond the simplex."""
    rows = np.arange(len(y))
    mixed = np.tensordot(weight, scores, 1)
    own = scores[:, rows, y]
    if pool == "linear":
        right = np.maximum(mixed[rows, y], _LEAST)
        return float(-np.log(right).mean()), -(own / right).mean(axis=1)
    top = mixed.max(axis=1, keepdims=True)
    shares = np.exp(mixed - top)
    total = shares.sum(axis=1, keepdims=True)
    value = (np.log(total[:, 0]) + top[:, 0] - mixed[rows, y]).mean()
    expected = np.einsum("nk,mnk->mn", shares / total, scores)
    gradient: Float64 = (expected - own).mean(axis=1)
    return float(value), gradient


def _softmax(logits: Float64) -> Float64:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Float64 = shares / shares.sum(axis=1, keepdims=True)
    return result


def _numbers(given: NDArray[np.floating], what: str) -> Float64:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {what} (n, d) as real numbers, found others: {error!s:.120}.") from error


def _parts(parts: Sequence[NDArray[np.floating]]) -> list[Float64]:
    found = [_numbers(part, "latents") for part in parts]
    if not found or any(x.ndim != 2 or x.shape != (len(found[0]), x.shape[1]) or not x.size for x in found):
        raise InputError(
            f"expected one modality or more, each (n, d) with the same rows, found {[x.shape for x in found]}. A "
            f"sample that lacks one cannot be concatenated: use late fusion."
        )
    if not all(np.isfinite(x).all() for x in found):
        raise InputError("expected finite latents in every modality, found NaN or infinity. Leave these samples out.")
    return found


def _probabilities(given: Sequence[NDArray[np.floating]]) -> Float64:
    found = [_numbers(one, "probabilities") for one in given]
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
