"""What the samples of two domains must be."""

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
# A statistic of a domain needs a difference between samples.
_LEAST_ROWS = 2
# Squares of greater values, and their sums, are infinite.
_GREATEST = 1e150


def check_domains(source: ArrayLike, target: ArrayLike, least: int = _LEAST_ROWS) -> tuple[Float64, Float64]:
    """Return the samples of two domains as arrays.

    Args:
        source: ``(n, d)`` real numbers, d at least 1.
        target: ``(m, d)``; n and m may differ.
        least: Rows that each side needs.

    Returns:
        Both, as ``float64``.

    Raises:
        InputError: If a side is no such array or has too few rows, a value is not finite, or widths differ.
    """
    rows, others = check_rows(source, "source", least), check_rows(target, "target", least)
    if rows.shape[1] != others.shape[1]:
        raise InputError(
            f"expected source and target samples of one width, found {rows.shape[1]} and {others.shape[1]} features. "
            f"Compute both with the same backbone."
        )
    return rows, others


def check_rows(x: ArrayLike, name: str, least: int = _LEAST_ROWS) -> Float64:
    """Return the samples of one domain as an array.

    Args:
        x: ``(n, d)`` real numbers.
        name: What they are, for messages.
        least: Rows that are needed.

    Raises:
        InputError: If they are no such array, too few, not finite, or beyond 1e150 in size.
    """
    try:
        found = np.asarray(x)
    except ValueError as error:
        raise InputError(f"expected {name} samples (n, d), found rows of different lengths. Cut them alike.") from error
    if found.dtype.kind not in "fiub":
        raise InputError(f"expected {name} samples of real numbers, found {found.dtype}. Convert them first.")
    if found.ndim != 2 or found.shape[1] < 1:
        raise InputError(f"expected {name} samples (n, d) of one feature or more, found shape {found.shape}.")
    if len(found) < least:
        raise InputError(f"expected at least {least} {name} samples, found {len(found)}. Collect more.")
    rows = found.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(
            f"expected finite {name} samples, found {int((~finite).sum())} with NaN or infinity, the first in row "
            f"{int(np.argmin(finite))}. Leave them out, or fill them in."
        )
    if len(rows) and (size := max(float(rows.max()), -float(rows.min()))) > _GREATEST:
        raise InputError(
            f"expected {name} samples of at most {_GREATEST:g} in size, found {size:.3g}. Scale them down."
        )
    return rows


def check_labels(y: ArrayLike, n: int, name: str) -> Int64:
    """Return labels as an array.

    Args:
        y: ``(n,)`` whole numbers.
        n: Number of samples.
        name: Of which side, for messages.

    Returns:
        ``(n,) int64``.

    Raises:
        InputError: If they are not whole numbers, one for each sample.
    """
    try:
        found = np.asarray(y)
    except ValueError as error:
        raise InputError(f"expected {name} labels ({n},), found rows of different lengths.") from error
    if found.shape != (n,):
        raise InputError(f"expected one {name} label for each of {n} samples, found shape {found.shape}.")
    if found.dtype.kind not in "iub" and not (
        found.dtype.kind == "f" and bool(np.isfinite(found).all()) and bool((found == np.round(found)).all())
    ):
        raise InputError(f"expected {name} labels as whole numbers, found {found.dtype}. Number the classes.")
    return cast(Int64, found.astype(np.int64))


def check_numbers(given: ArrayLike, what: str) -> Float64:
    """Return what was given as ``float64``, of any shape.

    Args:
        given: Real numbers.
        what: What they are, for messages.

    Raises:
        InputError: If they are no numbers, or rows have different lengths.
    """
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {what} (n, d) as real numbers, found others: {error!s:.120}.") from error
