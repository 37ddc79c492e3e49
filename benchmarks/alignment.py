"""What aligning without labels brings, how often it is refused, and how often the shift test is wrong at home.

Three places that nothing was tuned on: solar cells, mono-crystalline at home and poly-crystalline here; digits of UCI
through the demo's backbone, trained on MNIST; and one person's exercises among those of nine others, once with a tag
for each recording, once without. What is asked of an alignment was chosen elsewhere: on clothes, vowels, letters,
vehicles, diabetes, mail, objects of Office-Caltech, USPS and MNIST, and Gaussian worlds; the last choice there was made
after a first look at these three (see the page of benchmarks). The shipped head of the demo is its own; of the others
it is logistic regression on the source's latents. Samples to align with are drawn at random, as they come and with
classes in another mix (shares from a flat Dirichlet distribution), and accuracy is on others, each class counting the
same. A draw is lost where the aligned head is worse than the shipped one; where it is refused, the gain is 0.

False alarms: statistics of one half of a collection at home, tested with samples of the other half.

`python -m benchmarks.alignment --json FILE`
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from examples import elpv
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acclimate import Bundle
from acclimate.bundle import LinearLayer
from acclimate.edge.adaptation.displacement import within_variance
from acclimate.edge.adaptation.groups import sample_groups
from acclimate.edge.adaptation.shipped import Shipped
from acclimate.edge.alignment.align import align
from acclimate.edge.alignment.report import Method
from acclimate.edge.alignment.run import LEAST_SAMPLES, LEAST_UNITS
from acclimate.edge.alignment.shift import source_test
from acclimate.edge.head import LinearHead
from acclimate.edge.statistics import SourceStatistics, Statistics
from acclimate.latent import Float32, LatentCode
from acclimate.server.digits import load_target, target_pool

from .embedded import DEMO, embed, photos_lite0
from .harness import Row, finish
from .places import _features, _kept, _source, _watch

Int64 = NDArray[np.int64]
SEEDS, SIZES, HOME_DRAWS = 5, (50, 200), 100
METHODS: tuple[Method, ...] = ("auto", "coral", "prototypes")
_STRENGTH = 0.1
# Quantiles of Student's t for a 95 % interval, by the number of seeds or persons.
_STUDENT = {5: 2.776, 10: 2.262}


@dataclass(frozen=True, eq=False)
class Target:
    """A place without labels.

    Args:
        collection: What it is drawn from.
        unit: Seed or person: draws of one unit are not independent of each other.
        size: Number of samples to align with.
        mix: ``"as it comes"`` or ``"another mix"``.
        x: ``(n, d) float32`` latents to align with.
        fresh: ``(t, d) float32`` latents to test on.
        truth: ``(t,)`` their classes.
        shipped: What the bundle brings along.
        tags: ``n`` tags of the samples to align with, or None.
    """

    collection: str
    unit: int
    size: int
    mix: str
    x: Float32
    fresh: Float32
    truth: Int64
    shipped: Shipped
    tags: tuple[str, ...] | None = None


def main() -> None:
    """Measure and print."""
    rows: list[Row] = []
    for collection in (digits, cells, lambda: exercises(tagged=True), lambda: exercises(tagged=False)):
        targets = list(collection())
        for mix in dict.fromkeys(target.mix for target in targets):
            for size in sorted({target.size for target in targets}):
                chosen = [target for target in targets if (target.mix, target.size) == (mix, size)]
                rows += gains(chosen)
    rows += alarms()
    finish("alignment", rows, ["scikit-learn"])


def gains(targets: list[Target]) -> list[Row]:
    """Return what aligning brings on places of one kind."""
    rows, one = [], targets[0]
    size = f"{one.size} samples" if one.size else "half of what there is"
    kind = f"{one.collection}, {size}, {one.mix}"
    for method in METHODS:
        found = [outcome(target, method) for target in targets]
        before, always, applied = (np.array(column) for column in zip(*found, strict=True))
        gain = np.where(applied, always, 0.0)
        units = np.array([target.unit for target in targets])
        each = np.array([gain[units == unit].mean() for unit in np.unique(units)])
        spread = _STUDENT[len(each)] * float(each.std(ddof=1)) / len(each) ** 0.5
        told = f"+- {spread:.2f}; {before.mean():.1f} % before; applied {int(applied.sum())} of {len(applied)}"
        told += f"; unguarded {always.mean():+.2f}, at worst {always.min():+.2f}"
        rows.append(Row(f"gain, {method}, {kind}", float(gain.mean()), "points", note=told))
        goal = "worst" if method == "auto" else ""
        rows.append(Row(f"worst loss, {method}, {kind}", max(0.0, -float(gain.min())), "points", 0.0, goal))
    return rows


def outcome(target: Target, method: Method) -> tuple[float, float, bool]:
    """Return the accuracy of the shipped head in %, what aligning adds to it, and whether it is applied."""
    shipped = target.shipped
    if shipped.source is None:
        raise AssertionError("a place has the statistics of its source")
    codes = shipped.code.encode(target.x)
    # Pieces of evidence as a learner counts them.
    units = sample_groups(codes, np.zeros(len(codes), np.int64), target.tags, within_variance(shipped.source))
    found = align(shipped, codes, units, method)
    enough = len(codes) >= LEAST_SAMPLES and units.max() + 1 >= LEAST_UNITS
    applied = enough and source_test(codes, shipped.source, units).shifted and found.evidence.against is None
    before, after = (_accuracy(head, target) for head in (shipped.predictor(), found.head))
    return before, after - before, applied


def _accuracy(head: LinearHead | None, target: Target) -> float:
    if head is None:
        raise AssertionError("a place has a shipped head")
    predicted = head.ids[head.probabilities(target.shipped.code.clip(target.fresh)).argmax(axis=1)]
    return 100 * float(
        np.mean([np.mean(predicted[target.truth == label] == label) for label in np.unique(target.truth)])
    )


def digits() -> Iterator[Target]:
    """Draw UCI digits on which nothing was developed."""
    data, rows = load_target(), target_pool()
    with Bundle(DEMO) as opened:
        arrays, code, head = opened.source("onnx"), opened.code("onnx"), opened.head("onnx")
    if arrays is None:
        raise ValueError(f"expected source statistics in {DEMO}, found none. Make it anew with: acclimate demo")
    shipped = Shipped(np.arange(10), code, head, SourceStatistics.from_arrays(arrays))
    yield from _drawn("digits", embed(DEMO, data.images[rows]), data.labels[rows], shipped)


def cells() -> Iterator[Target]:
    """Draw photos of poly-crystalline solar cells; mono-crystalline ones are the source."""
    latents, y, poly = _cells()
    yield from _drawn("solar cells", latents[poly], y[poly], with_head(latents[~poly], y[~poly], 2))


def exercises(*, tagged: bool) -> Iterator[Target]:
    """Take the first halves of a person's recordings, and test on the second halves; the others are the source."""
    name = f"exercises, {'recordings as tags' if tagged else 'no tags'}"
    series, y, people = _watch()
    windows = [_features(one) for one in series]
    for person in np.unique(people):
        others, own = np.flatnonzero(people != person), np.flatnonzero(people == person)
        home_y = np.repeat(y[others], [len(windows[i]) for i in others])
        shipped = with_head(np.concatenate([windows[i] for i in others]), home_y, 7)
        begun, rest = ([half(windows[i]) for i in own] for half in (_first, _second))
        x, truth = np.concatenate(begun), np.repeat(y[own], [len(one) for one in rest])
        fresh, labels = np.concatenate(rest), np.repeat(y[own], [len(one) for one in begun])
        tags = np.repeat([f"recording {i}" for i in own], [len(one) for one in begun])
        for mix in ("as it comes", "another mix"):
            whole = mix == "as it comes"
            rows = np.arange(len(x)) if whole else _another_mix(labels, len(labels) // 2, int(person))
            told = tuple(tags[rows].tolist()) if tagged else None
            yield Target(name, int(person), 0, mix, x[rows], fresh, truth, shipped, told)


def _first(windows: Float32) -> Float32:
    return windows[: len(windows) // 2]


def _second(windows: Float32) -> Float32:
    return windows[len(windows) // 2 :]


def _cells() -> tuple[Float32, Int64, NDArray[np.bool_]]:
    """Return latents of the solar cells that nothing was developed on, whether defective, and whether poly."""
    photos = elpv.load()
    used = np.flatnonzero(~photos.development)
    latents = _kept("cells", lambda: photos_lite0(list(photos.frames[used])))
    return latents, photos.defective[used].astype(np.int64), photos.poly[used]


def with_head(latents: Float32, y: Int64, k: int) -> Shipped:
    """Return what a bundle of a source brings along, with logistic regression as its head."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=1_000)).fit(latents, y)
    scaler, regression = model[0], model[1]
    weight, bias = regression.coef_, regression.intercept_
    if k == 2:
        weight, bias = np.vstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    weight = weight / scaler.scale_
    layer = LinearLayer(weight.astype(np.float32), (bias - weight @ scaler.mean_).astype(np.float32))
    return _source(latents, y, k, layer)


def _drawn(name: str, latents: Float32, y: Int64, shipped: Shipped) -> Iterator[Target]:
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(y))
        pool, test = order[: len(y) // 2], order[len(y) // 2 :]
        for n in SIZES:
            yield Target(name, seed, n, "as it comes", latents[pool[:n]], latents[test], y[test], shipped)
            rows = pool[_another_mix(y[pool], n, seed)]
            yield Target(name, seed, n, "another mix", latents[rows], latents[test], y[test], shipped)


def _another_mix(y: Int64, n: int, seed: int) -> Int64:
    """Draw n samples without repetition, with classes in shares of a flat Dirichlet distribution where they last."""
    rng = np.random.default_rng((seed, n))
    wanted = np.zeros(int(y.max()) + 1)
    wanted[np.unique(y)] = rng.dirichlet(np.ones(len(np.unique(y))))
    chance = wanted[y] / np.bincount(y)[y]
    return rng.choice(len(y), n, replace=False, p=chance / chance.sum())


def alarms() -> list[Row]:
    """Return how often the shift test sees a shift at home: statistics of one half, samples of the other."""
    latents, cell_y, poly = _cells()
    series, y, _ = _watch()
    windows, data, rows = [_features(one) for one in series], load_target(), target_pool()
    homes = (
        ("digits", embed(DEMO, data.images[rows]), data.labels[rows]),
        ("mono-crystalline cells", latents[~poly], cell_y[~poly]),
        ("exercises", np.concatenate(windows), np.repeat(y, [len(one) for one in windows])),
    )
    found = []
    for name, x, labels in homes:
        for n in SIZES:
            same = np.array([alarm(x, labels, n, seed, mixed=False) for seed in range(HOME_DRAWS)])
            mixed = np.array([alarm(x, labels, n, seed, mixed=True) for seed in range(HOME_DRAWS)])
            kind = f"{name} at home, {n} samples"
            note = f"of {HOME_DRAWS} draws; another mix of classes: {100 * mixed[:, 0].mean():.0f} %"
            found.append(Row(f"a shift, {kind}", 100 * float(same[:, 0].mean()), "%", 0.0, "false_alarms", note))
            note = f"in another mix of classes; in the same: {100 * same[:, 1].mean():.0f} %"
            found.append(
                Row(f"beyond the mix, {kind}", 100 * float(mixed[:, 1].mean()), "%", 0.0, "false_alarms", note)
            )
    return found


def alarm(x: Float32, y: Int64, n: int, seed: int, *, mixed: bool) -> tuple[bool, bool]:
    """Return whether a shift is seen where none is, and one beyond another mix of classes."""
    order = np.random.default_rng((seed, 7)).permutation(len(x))
    home, here = order[: len(x) // 2], order[len(x) // 2 :]
    code = LatentCode.fit(x[home][:: max(len(home) // 64, 1)])
    whole = Statistics.of(code.encode(x[home]), y[home], int(y.max()) + 1)
    rows = here[_another_mix(y[here], n, seed)] if mixed else here[:n]
    # Means and variances are all that is asked for: the low-rank form, which takes seconds, has the same.
    source = SourceStatistics(whole.count, whole.sum, whole.moment, None, None)
    found = source_test(code.encode(x[rows]), source, np.arange(n), draws=499, seed=seed)
    return found.shifted, bool(found.beyond)


if __name__ == "__main__":
    main()
