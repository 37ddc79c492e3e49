"""What samples of a regression bundle are labelled with: a real number for each target."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import LabelError, StoreCorruptError
from ..store.connection import Connection
from ..store.database import damage
from ..store.sample_rows import change

Float64 = NDArray[np.float64]
Values = ArrayLike | Sequence[float | None] | Sequence[Sequence[float] | None]
# float32 holds more, but not its square's sums.
LARGEST = 1e15


def check_values(values: Values | None, n: int, targets: Sequence[str]) -> Float64:
    """Check that labels are numbers, as many as there are samples and targets.

    Args:
        values: ``(n,)`` where there is one target, or ``(n, t)``; None, or a row of NaN, for a sample without.
        n: Number of samples.
        targets: Names of the targets.

    Returns:
        ``(n, t)``, with rows of NaN for samples without.

    Raises:
        LabelError: If number or type differ, a value is infinite or absurd, or only a part of a row is given.
    """
    t = len(targets)
    wanted = f"({n},) or ({n}, 1)" if t == 1 else f"({n}, {t})"
    told = f"expected a number for each sample and each of the targets {list(targets)[:10]}, {wanted}"
    if values is None:
        return np.full((n, t), np.nan)
    try:
        given = list(values)  # type: ignore[arg-type]  # what is no sequence is what is asked
        rows = [np.full(t, np.nan) if row is None else np.asarray(row) for row in given]
        if any(row.dtype.kind not in "fiu" for row in rows):
            raise TypeError("a value is no number")
        found = np.array([row.astype(np.float64).reshape(-1) for row in rows], np.float64).reshape(len(rows), -1)
    except (TypeError, ValueError) as error:
        raise LabelError(f"{told}, found that {error}. Pass an array of floats, None for a sample without.") from error
    if t == 1 and any(row.ndim > 1 for row in rows):
        raise LabelError(f"{told}, found more axes. Pass an array of floats.")
    if found.shape != (n, t):
        raise LabelError(f"{told}, found {found.shape}. Pass None for samples without.")
    missing = np.isnan(found)
    if (missing.any(axis=1) != missing.all(axis=1)).any():
        raise LabelError(f"{told}, found rows with some of them. Give all targets of a sample, or none.")
    if (np.abs(found[~missing]) > LARGEST).any():
        raise LabelError(f"{told} within +-{LARGEST:g}, found one beyond. Choose another unit.")
    return found


def write(db: Connection, ids: Sequence[int], values: Float64) -> None:
    """Set the targets of stored samples, inside a transaction; a row of NaN takes them away.

    Raises:
        InputError: If an id is not stored.
        StoreCorruptError: If a row is damaged.
    """
    for number, row in zip(ids, values, strict=True):
        content = None if np.isnan(row).all() else row.astype("<f8").tobytes()
        change(db, number, target=content)


def read(db: Connection, targets: int) -> Float64:
    """Return the ``(n, t)`` targets of all samples that have some, in the order of the ids; read the rows' seals first.

    Raises:
        StoreCorruptError: If a row does not hold as many finite numbers.
    """
    rows = db.rows("SELECT id, target FROM samples WHERE target IS NOT NULL ORDER BY id")
    found = np.empty((len(rows), targets))
    for place, (number, content) in enumerate(rows):
        whole = isinstance(content, bytes) and len(content) == 8 * targets
        values = np.frombuffer(content, "<f8") if whole else np.full(1, np.nan)
        if not np.isfinite(values).all():
            raise StoreCorruptError(damage(db.name, f"sample {number} does not have {targets} targets"))
        found[place] = values
    return found
