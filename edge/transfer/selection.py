"""Instance selection: the source rows that are kept, rather than weights for all."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains, check_labels
from .kernels import squared_distances
from .weighting import LEAST_SHARE, SampleWeights, check_settings, least_size

Float64 = NDArray[np.float64]
Rows = NDArray[np.intp]
# Distances held at a time.
_TOGETHER = 1 << 22


@record()
class NearestSelection:
    """Keep the source rows that are among the nearest of some target row.

    The filter of Turhan, Menzies, Bener and Di Stefano 2009, "On the relative value of cross-company and within-company
    data for defect prediction". Kept rows weigh alike, the others nothing. Where they are fewer than `least_size`, more
    neighbours are taken, and the note says so; the weights never collapse.

    Args:
        neighbours: How many source rows each target row keeps, at least 1.
        least_share: Share of the source rows that is kept at least.
    """

    neighbours: int = 10
    least_share: float = LEAST_SHARE

    def __post_init__(self) -> None:
        check_settings(self.least_share)
        _check_neighbours(self.neighbours)

    @property
    def name(self) -> str:
        """Its name."""
        return "nearest"

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """See `Weigher.weigh`; the weight is 0 or n over the number of kept rows."""
        rows, others = check_domains(source, target)
        neighbours, notes = min(self.neighbours, len(rows)), []
        kept = nearest_rows(rows, others, neighbours)
        while len(kept) < least_size(len(rows), self.least_share) and neighbours < len(rows):
            neighbours = min(2 * neighbours, len(rows))
            kept = nearest_rows(rows, others, neighbours)
            notes = [f"too few rows kept: {neighbours} neighbours instead of {self.neighbours}"]
        weight = np.zeros(len(rows))
        weight[kept] = len(rows) / len(kept)
        return SampleWeights(weight, float(len(kept)), 0.0, 1.0, "; ".join([f"{len(kept)} rows kept", *notes]))


def nearest_rows(source: Float64, target: Float64, neighbours: int) -> Rows:
    """Return the source rows that are among the nearest of some target row.

    Rows as near as the last of the neighbours are neighbours too, so that the order of the rows decides nothing.

    Args:
        source: ``(n, d)`` samples.
        target: ``(m, d)`` samples.
        neighbours: Per target row; at most n.

    Returns:
        ``(k,)`` rows of the source, ascending.
    """
    kept = np.zeros(len(source), np.bool_)
    size = max(_TOGETHER // len(source), 1)
    # Distances of one row to many are rounded by its size: this much is no difference.
    slack = 1e-12 * float(max((source * source).sum(axis=1).max(), (target * target).sum(axis=1).max()))
    for start in range(0, len(target), size):
        square = squared_distances(target[start : start + size], source)
        last = np.partition(square, neighbours - 1, axis=1)[:, neighbours - 1 : neighbours]
        kept |= (square <= last + slack).any(axis=0)
    return np.flatnonzero(kept)


def nearest_of_class(
    source: ArrayLike,
    source_labels: ArrayLike,
    target: ArrayLike,
    target_labels: ArrayLike,
    *,
    neighbours: int = 10,
) -> tuple[Rows, tuple[int, ...]]:
    """Return the source rows that are among the nearest of some labelled target row of their own class.

    The same filter within each class, so that a rare class keeps rows of its own and a source row with another label in
    the target's neighbourhood is left out.

    Args:
        source: ``(n, d)`` samples.
        source_labels: ``(n,)`` classes.
        target: ``(m, d)`` samples.
        target_labels: ``(m,)`` classes.
        neighbours: Per target row; all rows of the class where they are fewer.

    Returns:
        ``(k,)`` rows of the source, ascending; and the classes of one side that the other lacks, ascending, of which
        no row is kept.

    Raises:
        InputError: If the sides are not as `check_domains` asks, labels do not fit them, or no class is shared.
    """
    _check_neighbours(neighbours)
    rows, others = check_domains(source, target)
    labels, wanted = (
        check_labels(source_labels, len(rows), "source"),
        check_labels(target_labels, len(others), "target"),
    )
    shared = np.intersect1d(labels, wanted)
    if not len(shared):
        raise InputError(
            f"expected source and target to share classes, found {np.unique(labels).tolist()} and "
            f"{np.unique(wanted).tolist()}. Give both the same numbers for the same classes."
        )
    kept = [
        own[nearest_rows(rows[own], others[wanted == one], min(neighbours, len(own)))]
        for one in shared
        for own in [np.flatnonzero(labels == one)]
    ]
    return np.sort(np.concatenate(kept)), tuple(np.setxor1d(labels, wanted).tolist())


def heaviest(weights: SampleWeights, share: float) -> Rows:
    """Return the source rows of the greatest weights.

    Selection by weight: Jiang and Zhai 2007, "Instance weighting for domain adaptation in NLP". At least `share` of the
    rows are kept, and of equal weights all or none.

    Args:
        weights: What a weigher returned.
        share: Share of the rows to keep, above 0 to 1.

    Returns:
        ``(k,)`` rows of the source, ascending.

    Raises:
        InputError: If the share is not above 0 to 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"expected a share above 0, at most 1, found {share}. 0.5 keeps half of the rows.")
    weight = weights.weight
    count = int(np.ceil(share * len(weight)))
    return np.flatnonzero(weight >= np.partition(weight, len(weight) - count)[len(weight) - count])


def _check_neighbours(neighbours: int) -> None:
    if neighbours < 1:
        raise InputError(f"expected at least 1 neighbour, found {neighbours}. 10 is usual.")
