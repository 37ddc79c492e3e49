"""What 8-bit latents cost in accuracy, and what they take on disk.

Accuracy: at the places of `benchmarks/places.py`, the same choice of head on codes, and on the latents before they were
rounded and clipped to them, from the samples alone. Both are standardised, turned to the span of the samples and
cross-validated on the same folds; fresh samples are not rounded in either case, as `Learner.predict` has them. The
headroom of the codes was chosen on the first draws of each place, so others are judged on. Of exercises there are no
others: a person's recordings begin in one way only.

Disk: a store filled by batches, per sample, and the bytes that were handed to the file system for each.

`python -m benchmarks.latents --json FILE`
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.edge.adaptation.coordinates import LEAST_SPREAD
from acclimate.edge.adaptation.groups import sample_groups
from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.adaptation.trial import balanced_accuracy
from acclimate.edge.heads import AUTO, Problem
from acclimate.edge.store.store import Store

from .harness import Row, finish
from .paired import paired
from .places import COLLECTIONS, Place, exercises

Float64 = NDArray[np.float64]
# Seeds on which the headroom was chosen, and as many more that are judged on.
TRIED, JUDGED = 20, 20
WIDTHS, STORED, BATCHES = (256, 1280, 2064), 2_000, (1, 40, 500)
_WRITTEN = Path("/proc/self/io")


def main() -> None:
    """Measure and print."""
    rows = [row for make in COLLECTIONS for row in _collection(make(JUDGED) if make is exercises else _judged(make))]
    rows += [row for width in WIDTHS for row in _disk(width)]
    finish("latents", rows, ["scikit-learn", "onnxruntime"])


def _judged(make: Callable[[int], Iterator[Place]]) -> Iterator[Place]:
    """Leave out the draws of each unit on which the headroom was chosen."""
    tried = Counter(place.unit for place in make(TRIED))
    for place in make(TRIED + JUDGED):
        if tried[place.unit]:
            tried[place.unit] -= 1
        else:
            yield place


def _collection(places: Iterator[Place]) -> list[Row]:
    whole: dict[int, list[float]] = defaultdict(list)
    coarse: dict[int, list[float]] = defaultdict(list)
    outside, name = [], ""
    for place in places:
        code, name = place.shipped.code, place.collection
        codes = code.encode(place.x)
        groups = sample_groups(codes, place.y)
        exact, fresh = (_in_codes(place, latents) for latents in (place.x, place.fresh))
        whole[place.unit].append(_accuracy(place, exact, fresh, groups))
        coarse[place.unit].append(
            _accuracy(place, codes.astype(np.float64), _in_codes(place, code.clip(place.fresh)), groups)
        )
        outside.append(100 * code.saturation(place.x))
    before, after = (np.array([np.mean(values) for values in each.values()]) for each in (whole, coarse))
    difference = paired(after - before)
    note = f"paired {difference}; {np.mean(outside):.2f} % of the numbers lie outside of the codes' range"
    return [
        Row(f"{name}: accuracy on 8-bit latents", float(after.mean()), "%", float(before.mean()), note=note),
        Row(f"{name}: points that float latents may be better", -difference.low, "%", 0.0, "accuracy"),
    ]


def _in_codes(place: Place, latents: NDArray[np.float32]) -> Float64:
    """Return latents in units of codes, neither rounded nor clipped."""
    code = place.shipped.code
    return (latents.astype(np.float64) - code.offset) / code.scale


def _accuracy(place: Place, rows: Float64, fresh: Float64, groups: NDArray[np.int64]) -> float:
    """Choose and fit a head on rows, and return its accuracy on fresh ones in points."""
    centre, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), LEAST_SPREAD)
    x, beyond = (rows - centre) / spread, (fresh - centre) / spread
    _, sizes, axes = np.linalg.svd(x, full_matrices=False)
    axes = axes[sizes > 1e-7 * sizes[0]].T
    problem = Problem(x @ axes, place.y, int(place.truth.max()) + 1)
    weights = fit(problem, cross_validate(problem, AUTO, groups=groups).best, AUTO)
    return 100 * balanced_accuracy(place.truth, weights.logits(beyond @ axes).argmax(axis=1))


def _disk(width: int) -> list[Row]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (STORED, width)).astype(np.uint8)
    rows: list[Row] = []
    for batch in BATCHES:
        with tempfile.TemporaryDirectory(dir="build") as folder:
            path = Path(folder, "s.db")
            before = _written()
            with Store(path, "f" * 64, width, [f"class {i}" for i in range(10)]) as store:
                for start in range(0, STORED, batch):
                    some = codes[start : start + batch]
                    none, labels = [None] * len(some), (np.arange(start, start + len(some)) % 10).tolist()
                    store.add(some, labels, [store.digest(row) for row in some], none, none)
            per_sample = (_written() - before) / STORED
            size = path.stat().st_size / STORED
        if batch == BATCHES[-1]:
            limit = 1.25 * width + 128
            note = "the goal is 1.25 times the latent and 128 bytes"
            rows.insert(0, Row(f"width {width}: bytes of the database per sample", size, "B", limit, "bytes", note))
        rows.append(Row(f"width {width}, {batch} at a time: bytes written per sample", per_sample, "B", float(width)))
    return rows


def _written() -> int:
    """Return the bytes that this process has handed to the file system so far."""
    return int(_WRITTEN.read_text().partition("wchar:")[2].split()[0])


if __name__ == "__main__":
    main()
