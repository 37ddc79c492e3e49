"""The target's labelled samples, checked before any source is opened."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge.checks import Labels, check_labels
from ...edge.choice.checks import check_classes
from ...errors import InputError, LabelError

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Target:
    """Labelled samples, each once.

    Args:
        frames: ``(n, ...)`` raw samples.
        y: ``(n,)`` classes, 0 to k - 1.
        classes: Their ``k`` names.
        repeated: How many samples were left out since they stand there already, byte for byte.
    """

    frames: NDArray[np.generic]
    y: Int64
    classes: tuple[str, ...]
    repeated: int


def check_target(frames: NDArray[Any], labels: Labels) -> Target:
    """Check samples, and leave out those that repeat another: held out, they would not be unseen.

    Args:
        frames: ``(n, ...)``.
        labels: ``n`` names, none of them None.

    Raises:
        InputError: If there are none.
        LabelError: If labels do not fit, are of one class only, or two of one sample differ.
        NotEnoughSamplesError: If a class has less than two samples.
    """
    if not isinstance(frames, np.ndarray) or frames.ndim < 2 or not frames.size:
        what = f"shape {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise InputError(
            f"expected samples (n, ...) as a numpy array, found {what}. Put the samples along its first axis."
        )
    names = [_named(name) for name in check_labels(labels, len(frames))]
    kept = _kept(frames, names)
    y, _ = check_classes(np.array([names[row] for row in kept]), len(kept), least=2)
    classes = tuple(sorted(set(names)))
    return Target(frames[kept], y, classes, len(frames) - len(kept))


def _named(name: str | None) -> str:
    if name is None:
        raise LabelError("expected a label for each sample, found one without. Leave such samples out.")
    return name


def _kept(frames: NDArray[Any], names: Sequence[str]) -> list[int]:
    """Return the places of the samples that repeat none before them."""
    first: dict[bytes, int] = {}
    for row, frame in enumerate(frames):
        place = first.setdefault(hashlib.sha256(np.ascontiguousarray(frame).data).digest(), row)
        if names[place] != names[row]:
            raise LabelError(
                f"expected one label for each sample, found {names[place]!r:.80} and {names[row]!r:.80} for samples "
                f"{place} and {row}, which are the same. Mend one of the labels."
            )
    return list(first.values())
