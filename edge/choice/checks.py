"""What every measure of a source asks of latents and labels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError, LabelError, NotEnoughSamplesError
from ..checks import DECODE, holds_bytes

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# Of probabilities that add up to 1: what float32 loses over a thousand classes.
_ROUNDING = 1e-3
# Sums of greater latents overflow float32, and fourth powers of smaller ones are 0 even in float64.
_GREATEST, _LEAST = 1e30, 1e-60


def check_latents(latents: ArrayLike, what: str = "latents", *, least: int = 2) -> Float64:
    """Return latents as ``(n, d) float64``.

    Args:
        latents: ``(n, d)`` numbers, at least one column. Rows that are alike and constant columns are taken as they
            are, and what is too small for float32 as 0.
        what: What they are, for messages.
        least: Rows that there must be.

    Raises:
        InputError: If they are anything else, or one is not finite or above 1e30 in size.
        NotEnoughSamplesError: If there are fewer rows.
    """
    found = _numbers(latents, what)
    if found.ndim != 2 or not found.shape[1]:
        raise InputError(f"expected {what} as rows of numbers (n, d), found shape {found.shape}. Flatten each one.")
    if len(found) < least:
        raise NotEnoughSamplesError(f"expected at least {least} rows of {what}, found {len(found)}. Give more of them.")
    _check_finite(found, what)
    size = np.abs(found)
    if size.max(initial=0) > _GREATEST:
        row = int(size.max(axis=1).argmax())
        raise InputError(
            f"expected {what} of at most {_GREATEST:g} in size, found {size.max():g} in row {row}. Scale them down."
        )
    found[size < _LEAST] = 0
    return found


def check_classes(labels: ArrayLike, n: int, *, least: int = 1) -> tuple[Int64, int]:
    """Return labels as classes 0 to k - 1 in sorted order, and their number k.

    Args:
        labels: ``n`` whole numbers or texts.
        n: Number of samples.
        least: Samples that each class must have.

    Raises:
        LabelError: If they are anything else, or name fewer than two classes.
        NotEnoughSamplesError: If a class has fewer samples.
    """
    found = np.asarray(labels)
    if holds_bytes(found):
        raise LabelError(f"expected labels as texts or whole numbers, found bytes. {DECODE}")
    if found.shape != (n,) or found.dtype.kind not in "iuU":
        raise LabelError(
            f"expected one label, a whole number or a text, per sample ({n}), found {found.dtype} of shape "
            f"{found.shape}. Give each sample the name or the number of its class."
        )
    names, y, counts = np.unique(found, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise LabelError(
            f"expected samples of at least 2 classes, found {len(names)} ({names[0]}). Add samples of another class."
        )
    if counts.min() < least:
        raise NotEnoughSamplesError(
            f"expected at least {least} samples of each class, found {counts.min()} of {names[counts.argmin()]!s:.80}. "
            f"Collect more of it, or leave the class out."
        )
    return y.astype(np.int64), len(names)


def check_probabilities(probabilities: ArrayLike, n: int | None = None) -> Float64:
    """Return probabilities as ``(n, z) float64`` whose rows add up to 1.

    Args:
        probabilities: ``(n, z)`` of the classes of a source's head, one row per sample.
        n: Number of samples; None for any.

    Raises:
        InputError: If they are anything else.
    """
    found = _numbers(probabilities, "probabilities")
    if found.ndim != 2 or not found.shape[1] or (n is not None and len(found) != n):
        raise InputError(
            f"expected probabilities ({'n' if n is None else n}, z) of the source's classes, found shape {found.shape}."
            f" Give one row per sample."
        )
    _check_finite(found, "probabilities")
    total = found.sum(axis=1)
    if (found < 0).any() or np.abs(total - 1).max(initial=0) > _ROUNDING:
        raise InputError(
            f"expected probabilities of at least 0 that add up to 1 for each sample, found {found.min():g} as the least"
            f" and sums from {total.min():g} to {total.max():g}. Pass the softmax of the logits."
        )
    result: Float64 = found / total[:, None]
    return result


def one_hot(y: Int64, k: int) -> Float64:
    """Return classes ``(n,)`` as ``(n, k)`` of 0 and 1."""
    found: Float64 = (y[:, None] == np.arange(k)).astype(np.float64)
    return found


def _numbers(values: ArrayLike, what: str) -> Float64:
    try:
        found: NDArray[Any] = np.asarray(values)
        if found.dtype.kind not in "iufb":
            raise InputError(f"expected {what} as numbers, found {found.dtype}. Pass an array of float32 or float64.")
        numbers: Float64 = found.astype(np.float64)
        return numbers
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected {what} as one array, found that {error}. Make all rows as long.") from error


def _check_finite(found: Float64, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise InputError(
            f"expected finite {what}, found NaN or infinity in row {bad[0]} ({len(bad)} of {len(found)} rows). Leave "
            f"such samples out, or look at the model that made them."
        )
