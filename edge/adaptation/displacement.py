"""Where a class went that has no local samples: as the others have moved, so may it have."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...latent import Codes
from ..head import Ids
from ..statistics import SourceStatistics

Float64 = NDArray[np.float64]
_LEAST_VARIANCE = 1.0


def carry_along(statistics: SourceStatistics, ids: Ids, codes: Codes, classes: Ids) -> SourceStatistics:
    """Move the source's means of classes without local samples by what the other classes have in common.

    Light, a lens or another sensor moves all classes alike. A class that stayed where it was, among others that moved,
    would lose its samples to them. The common step is the mean of the steps of the classes seen, drawn towards none by
    as much as they disagree (the positive-part estimator of James and Stein 1961, "Estimation with Quadratic Loss"):
    where classes moved each on its own, or hardly, nothing is carried along.

    Args:
        statistics: The source.
        ids: ``(k,)`` class ids of its rows.
        codes: ``(n, d) uint8`` local samples.
        classes: ``(n,)`` their class ids.

    Returns:
        The statistics, unchanged where fewer than two classes of the source are seen, or all.
    """
    local = np.isin(ids, classes)
    known = statistics.count > 0
    seen, missing = np.flatnonzero(local & known), np.flatnonzero(~local & known)
    if len(seen) < 2 or not len(missing):
        return statistics
    mean = statistics.mean()
    here = np.stack([codes[classes == ids[place]].mean(axis=0, dtype=np.float64) for place in seen])
    steps = here - mean[seen]
    step = steps.mean(axis=0)
    # Lengths are measured in the spread within the classes, so that taps of different scale weigh alike.
    unit = 1 / np.maximum(within_variance(statistics), _LEAST_VARIANCE)
    disagreement = float(((steps - step) ** 2).sum(axis=0) @ unit) / (len(seen) * (len(seen) - 1))
    share = max(0.0, 1 - disagreement / max(float(step**2 @ unit), 1e-300))
    if not share:
        return statistics
    moved, total = mean.copy(), statistics.sum.copy()
    moved[missing] = np.clip(mean[missing] + share * step, 0, 255)
    total[missing] = moved[missing] * statistics.count[missing, None]
    if statistics.moment is None:
        return replace(statistics, sum=total)
    # The scatter within the classes stays.
    return replace(statistics, sum=total, moment=statistics.moment - mean.T @ statistics.sum + moved.T @ total)


def within_variance(statistics: SourceStatistics) -> Float64:
    """Return the ``(d,)`` variance within the classes of the source, in squared codes."""
    freedom = max(statistics.samples - np.count_nonzero(statistics.count), 1.0)
    result: Float64 = statistics.within_diagonal() / freedom
    return result
