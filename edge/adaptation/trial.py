"""What makes a fitted head a candidate: what it is compared with, here and on the probe of the source."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..distinct import distinct
from ..head import Ids, LinearHead
from ..heads import Head, Problem, Setting, Weights
from ..heads.problem import Float64
from ..statistics import SourceStatistics
from ..store.samples import StoredSamples
from .coordinates import Coordinates
from .current import Current
from .groups import Groups
from .guard import Judgement, judge
from .probe import ProbeReport, compare_on_probe, forgets
from .selection import Selection, eligible
from .shipped import Shipped

_ROWS = 1_024


@record(eq=False)
class Candidate:
    """A fitted head that is not in use yet.

    Args:
        head: The head.
        selection: What it was chosen from.
        judgement: What the guard says.
        before: Balanced accuracy of the current head on the samples compared, by their weights; NaN where none were.
        after: That of the candidate, on the same samples.
        probe: What it has kept of the source; None without source statistics or a head to compare with.
        groups: ``(n,)`` group of each sample: samples of one are one piece of evidence.
        unseen: ``(u,)`` ids of the classes without samples.
        gain: Points of balanced accuracy over the head that is asked about the source beside it, on the samples here:
            the shipped one, whatever is in use by now, so that adapting again asks the same; NaN where none is.
        curve: Training samples and held-out accuracy of the setting chosen, from few samples to all; empty where it was
            not asked for: the head is good enough, or there is no time or no source.
        enough: Whether it is as good here as the shipped head is at home; False where it is well below and more samples
            hardly help: a tail is worth training. None where that is open. See `is_enough`.
    """

    head: LinearHead
    selection: Selection
    judgement: Judgement
    before: float
    after: float
    probe: ProbeReport | None
    groups: Groups
    unseen: Ids
    gain: float = float("nan")
    curve: tuple[tuple[int, float], ...] = ()
    enough: bool | None = None


@record(eq=False)
class Trial:
    """What candidates are judged by.

    Args:
        samples: The labelled samples.
        trained: ``(n,)`` which of them are trained on; the others belong to frozen classes.
        shipped: What the bundle brings along, with one row per class.
        reference: The head that is asked about the source beside the candidate.
        current: The head or tail in use, or None.
        ids: ``(k,)`` class ids of the candidate.
        names: Class names by id.
        coordinates: Where the candidate was solved.
        carried: The source statistics, with the classes where they are taken to be here.
        weight: ``(n,)`` weights of the samples: what they weigh in fitting, they weigh in judging. None for equal ones.
    """

    samples: StoredSamples
    trained: NDArray[np.bool_]
    shipped: Shipped
    reference: LinearHead | None
    current: Current | None
    ids: Ids
    names: Mapping[int, str]
    coordinates: Coordinates
    carried: SourceStatistics | None
    weight: Float64 | None = None

    def judge(self, selection: Selection, weights: Weights, groups: Groups) -> Candidate:
        """Make a candidate of weights, and compare it with the current head on local samples."""
        samples, ids, code = self.samples, self.ids, self.shipped.code
        predicted = np.where(selection.predicted < 0, -1, ids[selection.predicted])
        head = LinearHead(self.coordinates.layer(weights, code), ids, samples.ids[self.trained], predicted)
        y = np.searchsorted(ids, samples.classes)
        # Samples of frozen classes were not trained on: the head itself is asked.
        after = places_among(predicted if self.trained.all() else self._held_out(head), ids)
        before, known = None, np.zeros(len(ids), np.bool_)
        if self.current is not None:
            known, before = self.current.knows(ids), places_among(self._held_out(self.current), ids)
        compared = (after >= 0) if before is None else (after >= 0) & known[y]
        return Candidate(
            head,
            selection,
            judge(y, after, before, known, groups, [self.names[int(i)] for i in ids], self.weight),
            before=float("nan") if before is None else self._accuracy(y, before, compared),
            after=self._accuracy(y, after, compared),
            probe=next(iter(self.probes([head])), None),
            groups=groups,
            unseen=ids[~np.isin(ids, samples.classes)],
            gain=self._gain(y, after),
        )

    def _gain(self, y: Ids, after: Ids) -> float:
        if self.reference is None:
            return float("nan")
        compared = (after >= 0) & self.reference.knows(self.ids)[y]
        home = places_among(self._held_out(self.reference), self.ids)
        return 100 * (self._accuracy(y, after, compared) - self._accuracy(y, home, compared))

    def _accuracy(self, y: Ids, found: Ids, rows: NDArray[np.bool_]) -> float:
        return balanced_accuracy(y[rows], found[rows], None if self.weight is None else self.weight[rows])

    def _held_out(self, head: Current) -> Ids:
        """Return what a head predicts for each sample without it, some at a time, since latents take 4 times a code."""
        samples, parts = self.samples, range(0, len(self.samples.ids), _ROWS)
        found = [
            head.held_out(samples.ids[i : i + _ROWS], self.shipped.code.decode(samples.codes[i : i + _ROWS]))
            for i in parts
        ]
        return np.concatenate(found)

    def probes(self, heads: Sequence[LinearHead]) -> list[ProbeReport]:
        """Ask heads about the source, where the bundle says anything of it."""
        if self.reference is None or self.shipped.source is None or not self.shipped.source.count.any():
            return []
        local = distinct(self.samples.classes[self.trained])
        return compare_on_probe(self.shipped, self.reference, heads, local, self.names, self.carried)

    def forgets(self, candidate: Candidate, most: float | None) -> str | None:
        """Say what a candidate forgets more than it may, or None."""
        return None if candidate.probe is None else forgets(candidate.probe, candidate.gain, most)

    def keepers(self, heads: Sequence[Head], problem: Problem) -> dict[Setting, ProbeReport]:
        """Ask every setting about the source."""
        settings = [(head, eligible(head, problem)) for head in heads]
        layers = [
            self.coordinates.layer(weights, self.shipped.code)
            for head, some in settings
            for weights in head.solve(problem, some, draft=True)
        ]
        probes = self.probes([LinearHead(layer, self.ids) for layer in layers])
        return dict(zip((setting for _, some in settings for setting in some), probes, strict=True))


def balanced_accuracy(
    y: NDArray[np.int64], predicted: NDArray[np.int64], weight: NDArray[np.float64] | None = None
) -> float:
    """Return the mean over classes of the share predicted right; NaN for no sample.

    With weights, a sample counts by its own within its class, and a class by the mean of its samples'.
    """
    present, right = distinct(y), predicted == y
    if not len(present):
        return float("nan")
    if weight is None:
        return float(np.mean([right[y == label].mean() for label in present]))
    each = weight / np.bincount(y)[y]
    # Sums in another order may differ in the last digit.
    return min(float(right @ each / each.sum()), 1.0)


def places_among(found: Ids, ids: Ids) -> Ids:
    """Return places among ascending ids; -1 for an id that is not among them."""
    return np.where(np.isin(found, ids), np.searchsorted(ids, found), -1)
