"""The domain that a run adapts to: samples found as the training data's are, without their labels."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .csv_source import with_columns
from .draws import seed_of
from .found import Found
from .settings import UNREAD, DataSettings
from .split import Task

# Which kind of draw a seed is for: the target's samples vary by draws of their own.
_TARGET = 7


def target_settings(settings: DataSettings, kind: str) -> DataSettings:
    """Return settings that find a target's samples and read no label.

    Args:
        settings: Of the run.
        kind: What the training data is.
    """
    group = settings.group if kind == "series" else None
    # By name: the target may have its columns in another order, and labels or not.
    return replace(with_columns(settings, kind), labels=UNREAD, domain=None, group=group)


def target_seed(seed: int) -> int:
    """Return the seed of a target's augmentation."""
    return seed_of(seed, 0, 0, _TARGET)


def no_labels(found: Found, tasks: tuple[Task, ...]) -> NDArray[np.int64]:
    """Return -1 for each sample, of one task ``(n,)`` or several ``(n, tasks) int64``."""
    n = len(found.names)
    return np.full(n if len(tasks) == 1 else (n, len(tasks)), -1, np.int64)


def require_form(found: Found, train: Found) -> None:
    """Refuse a target whose samples are of another form than those trained on, or have other columns or channels.

    Args:
        found: The target.
        train: What is trained on.

    Raises:
        InputError: If they differ.
    """
    if found.form != train.form:
        raise InputError(
            f"expected a target like the training data ({train.form}), found {found.form}: {found.source}."
        )
    if found.form in ("table", "series"):
        # Means and deviations are of as many.
        require_shape(found, train.reader.read(0).shape[-1:], found.reader.read(0).shape[-1:])


def require_shape(found: Found, wanted: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse a target whose samples are of another shape than those trained on.

    Args:
        found: The target.
        wanted: Of one training sample.
        shape: Of one target sample.

    Raises:
        InputError: If they differ.
    """
    if shape != wanted:
        raise InputError(
            f"expected samples of shape {wanted} in the target, as in the training data, found {shape} in "
            f"{found.source}. Set data.size, or prepare both alike."
        )


def require_labelled(labelled: int, source: str) -> None:
    """Refuse samples that should decide whether adaptation helped, and have no label.

    Raises:
        InputError: If none is labelled.
    """
    if not labelled:
        raise InputError(
            f"expected labelled samples as data.target_validation, found none in {source}. Label some, or leave "
            f"it out: then the guard judges without labels."
        )
