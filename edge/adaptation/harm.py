"""Whether a candidate harms one class, however much it gains in the others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..distinct import distinct
from .evidence import at_least, weigh

if TYPE_CHECKING:
    from .guard import ClassChange

Float64 = NDArray[np.float64]
# A class whose recall falls to less than this share of what it was is lost, not merely harmed.
LOST = 0.5
# Means of equal weights differ by less.
_ALIKE = 1e-9


@record(eq=False)
class Cells:
    """Mean differences of the samples of one class and one group.

    Args:
        label: ``(u,)`` class of each.
        group: ``(u,)`` group of each, 0 to their number - 1.
        difference: ``(u,)`` -1 to 1.
        weight: ``(u,)`` mean weight of its samples.
    """

    label: NDArray[np.int64]
    group: NDArray[np.int64]
    difference: Float64
    weight: Float64


def cells_of(
    y: NDArray[np.int64],
    difference: Float64,
    compared: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
    weight: Float64,
) -> Cells:
    """Make cells of the ``(n,)`` differences of the samples compared; groups as for `guard.judge`."""
    own = np.arange(len(y)) if groups is None else groups
    pairs, place, size = np.unique(
        np.stack([own[compared], y[compared]]), axis=1, return_inverse=True, return_counts=True
    )
    place, own_weight = place.reshape(-1), weight[compared]
    total = np.bincount(place, own_weight * difference[compared], len(size))
    whole = np.bincount(place, own_weight, len(size))
    return Cells(pairs[1], np.unique(pairs[0], return_inverse=True)[1].reshape(-1), total / whole, whole / size)


def mean_of(values: NDArray[np.bool_], weight: Float64) -> float:
    """Return the weighted share that is true."""
    return min(float(values @ weight / weight.sum()), 1.0)


def apart(
    y: NDArray[np.int64],
    predicted: NDArray[np.int64],
    compared: NDArray[np.bool_],
    label: np.int64,
    weight: Float64,
) -> float:
    """Return how well a class is told from the others: its recall, less the share of them that is taken for it."""
    taken = predicted == label
    shares = {
        int(c): mean_of(taken[rows], weight[rows]) for c in distinct(y[compared]) for rows in [compared & (y == c)]
    }
    own = shares.pop(int(label))
    return own - (sum(shares.values()) / len(shares) if shares else 0.0)


def harmed(cells: Cells, changes: "Mapping[int, ClassChange]", told: Mapping[int, float], risk: float) -> str | None:
    """Name the class that is harmed beyond doubt, the clearest first.

    A class that the current head takes nearly everything for loses recall under any better head: it is harmed only if
    it is told from the others less well too.

    Args:
        cells: What was compared.
        changes: What changes for each class.
        told: By how much better each class is told from the others, see `apart`.
        risk: Probability of error, divided among the classes by their weights.

    Returns:
        The class in words, or None.
    """
    worst, words = 1.0, None
    means = {int(c): float(cells.weight[cells.label == c].mean()) for c in distinct(cells.label)}
    for label in distinct(cells.label[cells.difference < 0]):
        if told[int(label)] >= 0:
            continue
        rows, change = cells.label == label, changes[int(label)]
        chance, stake = (
            _worse(cells.difference[rows], cells.weight[rows], risk),
            means[int(label)] / sum(means.values()),
        )
        allowed = risk * min(len(means) * stake, 1) if change.after < LOST * change.before else risk * stake
        if chance <= allowed and chance < worst:
            worst = chance
            words = (
                f"{change.name}: {change.before:.0%} of its {change.samples} samples were right, {change.after:.0%} are"
            )
    return words


def _worse(difference: Float64, weight: Float64, risk: float) -> float:
    """Return the probability that units of one class lose as much by chance: of equal weights, by the sign test."""
    if np.ptp(weight) > _ALIKE * weight.max():
        return weigh(difference, weight, risk).worse
    lost, gained = int((difference < 0).sum()), int((difference > 0).sum())
    return at_least(lost, lost + gained)
