"""The `unknown` verdict on classes that were held out: how well it tells them, and how often it is wrong on known ones.

A quarter to a third of the classes are unknown: no sample of them is fitted on. AUROC is that of known test samples
against samples of unknown classes, and against frames of nothing (noise and grey). Five draws of classes and samples.
The method was chosen on other data: MNIST and the part of the UCI digits that these draws do not touch.

Rivals, fitted on the same samples: the greatest probability and the energy (log-sum-exp) of scikit-learn's logistic
regression, the shrunk Mahalanobis distance, the distance to the nearest sample, and ViM.

`python -m benchmarks.unknown --json FILE`
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from acclimate.converters.source import Labelled, novelty_arrays
from acclimate.edge.adaptation.folds import assign_folds
from acclimate.edge.unknown.fit import RATE, fit_novelty
from acclimate.edge.unknown.novelty import Novelty
from acclimate.latent import Codes

from .embedded import Embedded, cells_lite0, digits_demo, digits_lite0
from .harness import Row, finish

SEEDS, SIZES, TESTED = 5, (5, 20, 60), 40
Float64 = NDArray[np.float64]
Score = Callable[[Codes], Float64]


def main() -> None:
    """Measure and print."""
    rows: list[Row] = []
    means: dict[str, list[float]] = {}
    for data in (digits_lite0(), cells_lite0(), digits_demo()):
        if data is None:
            continue
        for size in SIZES:
            rows += _at(data, size, means)
        rows += _shipped(data)
    ours, *rivals = ((name, float(np.mean(found))) for name, found in means.items())
    best = max(rivals, key=lambda rival: rival[1])
    note = ", ".join(f"{name} {mean:.3f}" for name, mean in rivals)
    rows.append(Row("mean of all AUROC of unknown classes", ours[1], "", best[1], note=note))
    finish("unknown", rows, ["scikit-learn", "onnxruntime"])


def _at(data: Embedded, size: int, means: dict[str, list[float]]) -> list[Row]:
    """Measure with a number of samples a class; what each method reaches is added to `means`."""
    auc: dict[str, list[float]] = {}
    alarms, worst, caught, nothing = [], [], [], []
    for seed in range(SEEDS):
        known, fitted, tested, unknown = _draw(data, size, seed)
        y = np.searchsorted(known, data.y[fitted])
        novelty = fit_novelty(data.codes[fitted], y, assign_folds(y), len(known), data.code)
        if novelty is None:
            # Fewer than 19 samples: there is no verdict at 5 %.
            return []
        latents = [data.code.decode(data.codes[rows]) for rows in (tested, unknown)]
        inside, outside, noise = (novelty.scores(one) for one in (*latents, data.nothing))
        auc.setdefault("ours", []).append(_auroc(inside, outside))
        nothing.append(_auroc(inside, noise))
        above = inside > novelty.threshold
        alarms.append(above.mean())
        worst.append(max(above[data.y[tested] == label].mean() for label in known))
        caught.append((outside > novelty.threshold).mean())
        for name, score in _rivals(data.codes[fitted], y).items():
            auc.setdefault(name, []).append(_auroc(score(data.codes[tested]), score(data.codes[unknown])))
    for name, found in auc.items():
        means.setdefault(name, []).append(float(np.mean(found)))
    rivals = {name: float(np.mean(found)) for name, found in auc.items() if name != "ours"}
    best, where = max(rivals, key=lambda name: rivals[name]), f"{data.name}, {size} a class"
    listed = ", ".join(f"{name} {value:.3f}" for name, value in rivals.items())
    return [
        Row(
            f"{where}: AUROC of unknown classes",
            float(np.mean(auc["ours"])),
            "",
            rivals[best],
            note=_spread(auc["ours"]) + f"; {listed}",
        ),
        Row(f"{where}: AUROC of frames of nothing", float(np.mean(nothing)), "", note=_spread(nothing)),
        Row(
            f"{where}: false alarms",
            float(np.mean(alarms)),
            "",
            RATE,
            note=f"{_spread(alarms)}; worst class {np.mean(worst):.3f}",
        ),
        Row(f"{where}: unknown classes found at that threshold", float(np.mean(caught)), "", note=_spread(caught)),
    ]


def _shipped(data: Embedded) -> list[Row]:
    """Measure the verdict that a shipped head has from the converter, on other samples of the same source."""
    alarms, caught = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        classes = np.unique(data.y)
        known = np.sort(rng.permutation(classes)[: -max(len(classes) // 4, 1)])
        inside = rng.permutation(np.flatnonzero(np.isin(data.y, known)))
        fitted, tested = np.split(inside, [len(inside) * 3 // 4])
        y, names = np.searchsorted(known, data.y[fitted]), tuple(map(str, known))
        arrays = novelty_arrays(Labelled(data.code.decode(data.codes[fitted]), y, names), data.code)
        if arrays is None:
            return []
        novelty = Novelty.from_arrays(arrays, data.name)
        alarms.append(novelty.unknown(data.code.decode(data.codes[tested])).mean())
        caught.append(novelty.unknown(data.code.decode(data.codes[~np.isin(data.y, known)])).mean())
    where = f"{data.name}, shipped from {len(fitted)} samples"
    return [
        Row(f"{where}: false alarms", float(np.mean(alarms)), "", RATE, note=_spread(alarms)),
        Row(f"{where}: unknown classes found", float(np.mean(caught)), "", note=_spread(caught)),
    ]


def _draw(data: Embedded, size: int, seed: int) -> tuple[NDArray[np.int64], ...]:
    """Return the known classes, and the rows to fit on, to test on, and of unknown classes."""
    rng = np.random.default_rng(seed)
    classes = np.unique(data.y)
    known = np.sort(rng.permutation(classes)[: -max(len(classes) // 3, 1)])
    parts = [rng.permutation(np.flatnonzero(data.y == label))[: size + TESTED] for label in known]
    unknown = rng.permutation(np.flatnonzero(~np.isin(data.y, known)))[: TESTED * len(known)]
    # In the order of the collection, as samples come.
    fitted = np.sort(np.concatenate([part[:size] for part in parts]))
    return known, fitted, np.concatenate([part[size:] for part in parts]), unknown


def _rivals(codes: Codes, y: NDArray[np.int64]) -> dict[str, Score]:
    """Fit the rivals: scores of codes, higher for the unknown."""
    centre, spread = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1)

    def standard(some: Codes) -> Float64:
        return np.asarray((some - centre) / spread)

    x = standard(codes)
    model = LogisticRegression(C=0.1, max_iter=300)
    with warnings.catch_warnings():
        # Digits of the optimum beyond the third do not matter here.
        warnings.simplefilter("ignore")
        model.fit(x, y)
    means = np.stack([x[y == label].mean(axis=0) for label in np.unique(y)])
    _, values, axes = np.linalg.svd(x - means[y], full_matrices=False)
    freedom = max(len(x) - len(means), 1)
    level = float((values**2).sum()) / freedom / x.shape[1]
    gain = 2 / (values**2 / freedom + level) - 2 / level
    _, sizes, principal = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    kept = principal[: int(np.searchsorted(np.cumsum(sizes**2), 0.8 * (sizes**2).sum())) + 1]

    def residual(z: Float64) -> Float64:
        away = z - x.mean(axis=0)
        return np.asarray(np.linalg.norm(away - (away @ kept.T) @ kept, axis=1))

    alpha = float(model.decision_function(x).max(axis=1).mean() / max(residual(x).mean(), 1e-9))

    def logits(some: Codes) -> Float64:
        return np.asarray(model.decision_function(standard(some)))

    def mahalanobis(some: Codes) -> Float64:
        away = standard(some)[:, None] - means
        return np.asarray((2 / level * (away**2).sum(axis=2) + (away @ axes.T) ** 2 @ gain).min(axis=1))

    def nearest(some: Codes) -> Float64:
        z = standard(some)
        return np.asarray(((z**2).sum(axis=1)[:, None] - 2 * z @ x.T + (x**2).sum(axis=1)).min(axis=1))

    return {
        "probability": lambda some: -np.asarray(model.predict_proba(standard(some)).max(axis=1)),
        "energy": lambda some: -np.logaddexp.reduce(logits(some), axis=1),
        "Mahalanobis": mahalanobis,
        "nearest sample": nearest,
        "ViM": lambda some: alpha * residual(standard(some)) - np.logaddexp.reduce(logits(some), axis=1),
    }


def _auroc(inside: NDArray[np.generic], outside: NDArray[np.generic]) -> float:
    labels = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    return float(roc_auc_score(labels, np.r_[inside, outside]))


def _spread(found: list[float]) -> str:
    return f"{min(found):.3f} to {max(found):.3f}"


if __name__ == "__main__":
    main()
