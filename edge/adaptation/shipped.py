"""What a bundle brings along, after classes were merged or removed on the device."""

from dataclasses import replace

import numpy as np

from ...bundle import LinearLayer
from ...latent import LatentCode
from ...record import record
from ..distinct import distinct
from ..head import Ids, LinearHead
from ..heads.problem import ABSENT, Float64
from ..statistics import SourceStatistics
from .fisher import Fisher


@record(eq=False)
class Shipped:
    """What the bundle brings along.

    Args:
        classes: ``(r,) int64`` what has become of each shipped class: its present class id, which is that of another
            one where they were merged; -1 where it was removed.
        code: Quantization of the latents.
        head: The shipped head, or None.
        source: Source statistics, or None.
        fisher: Fisher information of the shipped head on the source, or None.
    """

    classes: Ids
    code: LatentCode
    head: LinearLayer | None
    source: SourceStatistics | None
    fisher: Fisher | None = None

    @property
    def ids(self) -> Ids:
        """``(c,)`` ids of the classes that the head or the statistics know, ascending."""
        if self.head is None and self.source is None:
            return np.empty(0, np.int64)
        found: Ids = distinct(self.classes[self.classes >= 0])
        return found

    def present(self) -> "Shipped":
        """Return what is left of it, with one row for each of `ids`."""
        ids = self.ids
        if np.array_equal(self.classes, ids):
            return self
        if not len(ids):
            # Every class was removed: nothing is left to build on.
            return Shipped(ids, self.code, None, None)
        head = None if self.head is None else merge_rows(self.head, self.classes)
        source = None if self.source is None else merge_statistics(self.source, self.classes)
        fisher = None if self.fisher is None else self.fisher.merged(self.classes)
        return Shipped(ids, self.code, head, source, fisher)

    def predictor(self) -> LinearHead | None:
        """Return the shipped head as it predicts now: merged classes keep their rows, and add their probabilities."""
        if self.head is None or not len(self.ids):
            return None
        whole = LinearHead(self.head, np.arange(len(self.classes)))
        return whole.present({i: int(c) for i, c in enumerate(self.classes) if c >= 0})


def merge_rows(layer: LinearLayer, classes: Ids) -> LinearLayer:
    """Make one row of a head of the rows of each class, to draw a new head towards.

    The class's logit is the logarithm of the sum of exponentials of its rows', which is not linear. What stands for it
    is its tangent where all its rows agree: their mean, plus the logarithm of their number; it is nowhere above.

    Args:
        layer: A head of ``r`` rows.
        classes: ``(r,)`` class of each row; rows of class -1 are left out.

    Returns:
        One row per class, in ascending order.
    """
    ids = distinct(classes[classes >= 0])
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    rows = [np.flatnonzero((classes == label) & (bias > ABSENT)) for label in ids]
    # A class without a row that it can be predicted by keeps one that cannot.
    weights = [weight[own].mean(axis=0) if len(own) else np.zeros(weight.shape[1]) for own in rows]
    biases = [bias[own].mean() + np.log(len(own)) if len(own) else ABSENT for own in rows]
    return LinearLayer(np.array(weights).astype(np.float32), np.array(biases).astype(np.float32))


def merge_statistics(statistics: SourceStatistics, classes: Ids) -> SourceStatistics:
    """Merge or remove classes of the source statistics.

    Merging is exact, but for the rounding of a low-rank factor: counts and sums add up, and the scatter within a merged
    class grows by that of its parts' means. Removing is an approximation: the scatter within the classes is known for
    all of them together only, so that a removed one takes the share of it that its degrees of freedom are.

    Args:
        statistics: Of ``r`` classes.
        classes: ``(r,)`` class of each row; -1 for one to remove.

    Returns:
        The statistics of the classes that are left, in ascending order.
    """
    ids, kept = distinct(classes[classes >= 0]), classes >= 0
    freedom = np.maximum(statistics.count - 1, 0)
    left = float(freedom[kept].sum() / max(freedom.sum(), 1))
    place = np.searchsorted(ids, classes[kept])
    own, sums = statistics.count[kept], statistics.sum[kept]
    count, total = np.zeros(len(ids)), np.zeros((len(ids), sums.shape[1]))
    np.add.at(count, place, own)
    np.add.at(total, place, sums)
    if kept.all() and statistics.moment is not None:
        return replace(statistics, count=count, sum=total)
    if statistics.moment is not None:
        within = statistics.moment - statistics.mean().T @ statistics.sum
        moment = left * (within + within.T) / 2 + statistics.mean()[kept].T @ sums
        return replace(statistics, count=count, sum=total, moment=moment)
    if statistics.factor is None or statistics.diagonal is None:
        raise AssertionError("source statistics hold a moment or a factor with its diagonal")
    mean = total / np.maximum(count, 1)[:, None]
    apart: Float64 = np.sqrt(own)[:, None] * (statistics.mean()[kept] - mean[place])
    apart = apart[np.bincount(place)[place] > 1]
    factor = np.vstack([np.float32(left**0.5) * statistics.factor, apart.astype(np.float32)])
    return SourceStatistics(count, total, None, factor, left * statistics.diagonal)
