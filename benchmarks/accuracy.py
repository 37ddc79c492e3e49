"""Accuracy against scikit-learn's best, on real data of five places, by number of samples.

See `benchmarks/places.py` for the places and what to install. Acclimate chooses head and strength by itself (`adapt`,
without the guard: the candidate is taken), once from the samples alone, and once with the source statistics and the
shipped head that a bundle brings along. scikit-learn's LogisticRegressionCV, RidgeClassifierCV, NearestCentroid and LDA
are tuned on the folds of Acclimate's own cross-validation, on float latents where Acclimate has 8-bit codes, and the
best by cross-validation counts; it has no use for statistics. Class-balanced accuracy on samples that none has seen;
differences are paired by seed (or person, or speaker), with a 95 % interval.

`python -m benchmarks.accuracy --json FILE`
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from acclimate.edge.adaptation.adapt import Candidate, adapt
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.adaptation.trial import balanced_accuracy
from acclimate.edge.store.samples import StoredSamples

from .harness import Row, finish
from .paired import paired
from .places import COLLECTIONS, Place
from .rivals import tune

Int64 = NDArray[np.int64]
SEEDS = 10


@dataclass
class Found:
    """What was found at one size of one collection, in points, by unit and draw.

    Args:
        units: Seed, person or speaker.
        alone: Acclimate on the samples alone.
        joint: Acclimate with what the bundle brings along.
        rival: scikit-learn's best.
        names: Which classifier was scikit-learn's best.
        heads: Which head was chosen, alone.
    """

    units: list[int] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    joint: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    heads: Counter[str] = field(default_factory=Counter)

    def by_unit(self, values: list[float]) -> NDArray[np.float64]:
        """Return the mean of each unit's values."""
        units = np.array(self.units)
        return np.array([np.mean(np.array(values)[units == unit]) for unit in np.unique(units)])


def main() -> None:
    """Measure and print."""
    finish(
        "accuracy", [row for make in COLLECTIONS for row in _collection(make(SEEDS))], ["scikit-learn", "onnxruntime"]
    )


def candidate(place: Place, shipped: Shipped) -> Candidate:
    """Adapt to a place."""
    n, k = len(place.y), int(place.truth.max()) + 1
    codes = shipped.code.encode(place.x)
    samples = StoredSamples(np.arange(1, n + 1), place.y, codes)
    return adapt(samples, shipped, None, {i: f"class {i}" for i in range(k)})


def score(place: Place, found: Candidate) -> float:
    """Return a candidate's accuracy on fresh samples in points, as `Learner.predict` sees them."""
    probabilities = found.head.probabilities(place.shipped.code.clip(place.fresh))
    return 100 * balanced_accuracy(place.truth, found.head.ids[probabilities.argmax(axis=1)])


def without_source(shipped: Shipped) -> Shipped:
    """Return what a bundle without source statistics and head brings along."""
    return Shipped(np.empty(0, np.int64), shipped.code, None, None)


def _collection(places: Iterable[Place]) -> list[Row]:
    found: dict[str, Found] = defaultdict(Found)
    name = ""
    for place in places:
        name, size = place.collection, found[place.size]
        alone, joint = candidate(place, without_source(place.shipped)), candidate(place, place.shipped)
        rivals = tune(place.x, place.y, alone.selection.fold, place.fresh)
        best = max(rivals, key=lambda rival: rival.cross_validated)
        size.units.append(place.unit)
        size.alone.append(score(place, alone))
        size.joint.append(score(place, joint))
        size.rival.append(100 * balanced_accuracy(place.truth, best.predicted))
        size.names[best.name] += 1
        size.heads[alone.selection.best.setting.head] += 1
    rows = [row for size, one in found.items() for row in _rows(f"{name}, {size}", one)]
    return rows + _overall(name, list(found.values()))


def _rows(where: str, found: Found) -> list[Row]:
    rival, alone, joint = (found.by_unit(values) for values in (found.rival, found.alone, found.joint))
    told = ", ".join(f"{name} {times}" for name, times in found.names.most_common())
    chosen = ", ".join(f"{name} {times}" for name, times in found.heads.most_common())
    return [
        Row(
            f"{where}: alone",
            float(alone.mean()),
            "%",
            float(rival.mean()),
            note=f"sd {alone.std(ddof=1):.1f}; paired {paired(alone - rival)}; {chosen} against {told}",
        ),
        Row(
            f"{where}: with the source",
            float(joint.mean()),
            "%",
            float(rival.mean()),
            note=f"sd {joint.std(ddof=1):.1f}; paired {paired(joint - rival)}",
        ),
    ]


def _overall(name: str, sizes: list[Found]) -> list[Row]:
    """Return the lower ends of the intervals of all sizes together, which the goals are about."""
    together = Found()
    for size in sizes:
        together.units += size.units
        together.alone += size.alone
        together.joint += size.joint
        together.rival += size.rival
    rival = together.by_unit(together.rival)
    alone, joint = (paired(together.by_unit(values) - rival) for values in (together.alone, together.joint))
    # A goal says how much a value may lie above another: here how far scikit-learn may lie above Acclimate.
    worst = f"{name}: points by which scikit-learn may be better, at the end of the 95 % interval"
    return [
        Row(worst, -alone.low, "%", 0.0, "alone", f"paired {alone}, all sizes"),
        Row(
            f"{name}: points by which it is better, with the source", -joint.mean, "%", 0.0, "joint", f"paired {joint}"
        ),
    ]


if __name__ == "__main__":
    main()
