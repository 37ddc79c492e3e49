"""Keep a share for validation: of each class alike, or whole groups."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..splits import Rows, split_by_class


def hold_out(
    labels: NDArray[np.int64], share: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[Rows, Rows]:
    """Split rows into those to train on and those to validate on.

    Args:
        labels: ``(n,)``, or ``(n, tasks)``, of which the first counts.
        share: Share of each class for validation, 0 to below 1.
        seed: Fixes the draw.
        groups: Group of each row; a group goes whole into one part, so that shares are met nearly.

    Returns:
        Rows of the first part and of the second, each ascending; the second is empty for a share of 0.

    Raises:
        InputError: If no group can be kept without leaving a class nothing to train on.
    """
    classes = labels if labels.ndim == 1 else labels[:, 0]
    if groups is None or share == 0:
        return split_by_class(classes, share, seed=seed)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    present = np.unique(classes)
    counts = np.zeros((len(names), len(present)))
    np.add.at(counts, (member, np.searchsorted(present, classes)), 1)
    chosen = _choose(counts, share, np.random.default_rng(seed))
    if not chosen.any():
        raise InputError(
            f"expected a group that can be kept for validation, found that each of {len(names)} groups "
            f"has all samples of some class. Name data.validation, or set data.validation_share = 0."
        )
    second = np.flatnonzero(chosen[member])
    return np.setdiff1d(np.arange(len(classes)), second), second


def _choose(counts: NDArray[np.float64], share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which groups to keep: in a drawn order, each that brings the kept counts nearer to the wanted ones."""
    total = counts.sum(axis=0)
    wanted = share * total
    weight = 1 / np.maximum(wanted, 1e-12)
    kept = np.zeros_like(wanted)
    chosen = np.zeros(len(counts), np.bool_)
    order = generator.permutation(len(counts))
    # Without them every class still has a sample to train on.
    spared = [group for group in order if (counts[group] < total).all()]
    for group in spared:
        gain = _distance(kept, wanted, weight) - _distance(kept + counts[group], wanted, weight)
        if gain > 0 and (kept + counts[group] < total).all():
            chosen[group] = True
            kept += counts[group]
    if not chosen.any() and spared:
        # All are larger than the share: the smallest comes nearest.
        chosen[min(spared, key=lambda group: float(counts[group].sum()))] = True
    return chosen


def _distance(kept: NDArray[np.float64], wanted: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    return float((((kept - wanted) * weight) ** 2).sum())
