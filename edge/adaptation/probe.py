"""The source probe: samples drawn from what the bundle says of the source, to see what a head has forgotten of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..head import Ids, LinearHead
from ..statistics import SourceStatistics
from .shipped import Shipped

Float64 = NDArray[np.float64]
Labels = NDArray[np.int64]
# Samples drawn per class, and in all: a thousand classes get four each.
PER_CLASS, IN_ALL = 20, 4_000
# A class that keeps less than this share of its recall is lost.
LOST = 0.5
# Points that may be lost on the probe beyond what is gained on local samples.
MOST_FORGETTING = 10.0
# Draws from the statistics of what a head was fitted on it knows better than other samples of the source: by so much at
# most, and so much more where there are as many dimensions as samples. Not exceeded in 34 cases, of digits, clothes,
# solar cells, scenes, vowels and Gaussian worlds, with .4 to 73 samples a dimension.
OPTIMISM, PER_DIMENSION = 0.1, 0.8
# Rows drawn at a time, which bounds the memory.
_ROWS = 256
_JITTER = 1e-9


@record()
class ClassRecall:
    """How well one class of the source is known before and after.

    Args:
        name: The class.
        samples: Samples drawn of it.
        local: Whether it has local samples.
        before: Share of the samples that the shipped head gets right.
        after: Share that the candidate gets right.
    """

    name: str
    samples: int
    local: bool
    before: float
    after: float


@record()
class ProbeReport:
    """What a candidate has kept of the source, as far as samples drawn from its statistics tell.

    Args:
        before: Accuracy of the shipped head on the probe, each class counting the same.
        after: That of the candidate.
        classes: Class by class.
        least: What is left of `before` at least on samples of the source that the shipped head was not fitted on, by
            experience: draws from what it was fitted on flatter it. NaN where nothing is known of that.
    """

    before: float
    after: float
    classes: tuple[ClassRecall, ...]
    least: float = float("nan")

    @property
    def forgotten(self) -> float:
        """Points of accuracy that the candidate has lost; below 0 where it has gained some."""
        return 100 * (self.before - self.after)

    @property
    def lost(self) -> tuple[str, ...]:
        """Names of classes without local samples of which less than half of what was known is left."""
        return tuple(c.name for c in self.classes if not c.local and c.after < LOST * c.before)


def compare_on_probe(
    shipped: Shipped,
    reference: LinearHead,
    candidates: Sequence[LinearHead],
    local: Ids,
    names: Mapping[int, str],
    carried: SourceStatistics | None = None,
) -> list[ProbeReport]:
    """Ask heads about samples drawn from the source statistics.

    Args:
        shipped: What the bundle brings along, with one row per class, and with source statistics.
        reference: The head that is compared with: the shipped one.
        candidates: Heads that may replace the one in use.
        local: Ids of the classes with local samples.
        names: Class names by id.
        carried: Where the classes are that the candidates are asked about, if not where the source had them.

    Returns:
        One comparison for each candidate.
    """
    if shipped.source is None:
        raise AssertionError("a probe is drawn from source statistics")
    if carried is None or carried is shipped.source:
        (before, *after), total = _right(shipped, shipped.source, [reference, *candidates])
    else:
        (before,), total = _right(shipped, shipped.source, [reference])
        after, _ = _right(shipped, carried, candidates)
    drawn, seen = np.flatnonzero(total), np.isin(shipped.ids, local)
    recall, source = before[drawn] / total[drawn], shipped.source
    known = float(recall.mean())

    def report(right: Float64) -> ProbeReport:
        now = right[drawn] / total[drawn]
        classes = tuple(
            ClassRecall(names[int(shipped.ids[c])], int(total[c]), bool(seen[c]), float(then), float(kept))
            for c, then, kept in zip(drawn, recall, now, strict=True)
        )
        return ProbeReport(known, float(now.mean()), classes, max(known - optimism(source), 0.0))

    return [report(right) for right in after]


def optimism(statistics: SourceStatistics) -> float:
    """Return by how much at most a head does better on draws from statistics than on other samples of their source."""
    freedom = max(statistics.samples - np.count_nonzero(statistics.count), 1)
    return float(OPTIMISM + PER_DIMENSION * statistics.sum.shape[1] / freedom)


def _right(
    shipped: Shipped, statistics: SourceStatistics, heads: Sequence[LinearHead]
) -> tuple[list[Float64], Float64]:
    """Return for each head how many draws of each class it gets right, ``(k,)``, and how many there are, ``(k,)``."""
    k = len(shipped.ids)
    right, total = np.zeros((len(heads), k)), np.zeros(k)
    for rows, labels in draw_probe(statistics):
        latents = (rows * shipped.code.scale + shipped.code.offset).astype(np.float32)
        total += np.bincount(labels, minlength=k)
        for place, head in enumerate(heads):
            found = head.ids[head.probabilities(latents).argmax(axis=1)]
            right[place] += np.bincount(labels, found == shipped.ids[labels], k)
    return list(right), total


def forgets(report: ProbeReport, gain: float, most: float | None = None) -> str | None:
    """Say what of the source a candidate forgets, if that is more than it may.

    A place that differs takes another boundary, and what lies beyond it is lost where the two contradict each other. A
    head may therefore lose as much of the source as it gains here, and 10 points more; but no class that the samples
    here say nothing of.

    Args:
        report: What the probe says.
        gain: What the candidate gains here, in points; NaN where that is unknown.
        most: Points that may be lost at most, whatever is gained; None for the rule above.

    Returns:
        The reason in words, or None.
    """
    if report.lost:
        names = ", ".join(report.lost[:5])
        return f"It forgets {names}, of which there are no samples here, on the probe of the source."
    allowed = MOST_FORGETTING + max(0.0, np.nan_to_num(gain)) if most is None else most
    if report.forgotten <= allowed:
        return None
    points = f"{100 * report.before:.0f} % to {100 * report.after:.0f} %"
    return f"It forgets the source: from {points} on the probe, where a loss of {allowed:.0f} points is allowed."


def draw_probe(
    statistics: SourceStatistics, seed: int = 0, per_class: int = PER_CLASS
) -> Iterator[tuple[Float64, Labels]]:
    """Draw samples from the class means and the shared scatter of the source, as a Gaussian per class.

    Latents are no Gaussians; the draws are clipped to the range of the codes, which restores the most common exception,
    the zeros of a rectifier. A linear head sees a latent only through its projections, which are nearly Gaussian.

    Args:
        statistics: The source. Classes without samples get none.
        seed: Equal seeds give equal samples.
        per_class: Samples per class, fewer where there are very many classes.

    Yields:
        ``(r, d) float64`` codes, not rounded, and the ``(r,)`` class of each, at most 256 rows at a time.
    """
    present = np.flatnonzero(statistics.count > 0)
    if not len(present):
        return
    each = max(min(per_class, IN_ALL // len(present)), 1)
    y = np.repeat(present, each)
    freedom = max(statistics.samples - len(present), 1.0)
    noise, mean = _noise(statistics, freedom), statistics.mean()
    rng = np.random.default_rng(seed)
    for start in range(0, len(y), _ROWS):
        labels = y[start : start + _ROWS]
        rows = mean[labels]
        rows += noise(rng, len(labels))
        yield np.clip(rows, 0, 255, out=rows), labels


# Quoted, so that numpy.random is loaded only where something is drawn.
def _noise(statistics: SourceStatistics, freedom: float) -> "Callable[[np.random.Generator, int], Float64]":
    d = statistics.sum.shape[1]
    if statistics.moment is None:
        if statistics.factor is None or statistics.diagonal is None:
            raise AssertionError("source statistics hold a moment or a factor with its diagonal")
        factor = statistics.factor / np.float32(freedom**0.5)
        deviation = np.sqrt(statistics.diagonal / freedom)

        def low_rank(rng: "np.random.Generator", n: int) -> Float64:
            rows = rng.standard_normal((n, d))
            rows *= deviation
            rows += rng.standard_normal((n, len(factor)), np.float32) @ factor
            return rows

        return low_rank
    mean = statistics.mean()
    covariance = (statistics.moment - mean.T @ statistics.sum) / freedom
    root = _root((covariance + covariance.T) / 2)
    return lambda rng, n: rng.standard_normal((n, d)) @ root.T


def _root(covariance: Float64) -> Float64:
    """Return a matrix that times its own transpose is the covariance."""
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    try:
        return np.linalg.cholesky(covariance + _JITTER * level * np.eye(len(covariance))).astype(np.float64)
    except np.linalg.LinAlgError:
        # What a bundle says need not be a covariance: its positive part is one.
        values, vectors = np.linalg.eigh(covariance)
        result: Float64 = vectors * np.sqrt(np.maximum(values, 0))
        return result
