"""Labels: wrong ones found, useful ones asked for, and probabilities that mean what they say.

UCI digits as latents of EfficientNet-Lite0 with ImageNet's weights; held-out probabilities as `adapt` gets them, by
cross-validation over its heads. Five draws of samples.

* Wrong labels: a share of 400 labels flipped at random, or from one digit to the next. Precision and recall of
  `suspects`, against calling every sample suspect that is predicted otherwise than labelled.
* Useful labels: 30 labelled at random, 60 more chosen by a strategy among 600; accuracy on 500 others, against 60 more
  at random.
* Calibration: the calibration error and the log loss on 500 others with the temperature that `adapt` chose, against
  none. A head that is sure of all it says has a small calibration error where it is mostly right; its log loss tells.

`python -m benchmarks.labels --json FILE`
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.edge.adaptation.calibration import calibration_error
from acclimate.edge.adaptation.coordinates import fit_coordinates
from acclimate.edge.adaptation.selection import Selection, cross_validate, fit
from acclimate.edge.heads import AUTO, Problem
from acclimate.edge.suggest import STRATEGIES, suggest
from acclimate.edge.suspects import suspects
from acclimate.latent import Codes, LatentCode

from .embedded import Embedded, digits_lite0
from .harness import Row, finish

SEEDS, K = 5, 10
LABELLED, START, MORE, POOL, TESTED = 400, 30, 60, 600, 500
Classes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head chosen and fitted as `adapt` does.

    Args:
        selection: The choice.
        logits: ``(m, k)`` of the test samples, temperature folded in.
    """

    selection: Selection
    logits: NDArray[np.float64]

    @property
    def temperature(self) -> float:
        """What the raw logits were divided by."""
        return self.selection.best.temperature


def main() -> None:
    """Measure and print."""
    data = digits_lite0()
    finish("labels", [*_wrong(data), *_useful(data), *_calibrated(data)], ["scikit-learn", "onnxruntime"])


def _wrong(data: Embedded) -> list[Row]:
    rows = []
    for share, kind in ((0.05, "random"), (0.1, "random"), (0.2, "random"), (0.1, "next")):
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "naive": []}
        right = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            chosen = np.sort(rng.permutation(len(data.y))[:LABELLED])
            true = data.y[chosen]
            flipped = np.isin(np.arange(LABELLED), rng.permutation(LABELLED)[: round(share * LABELLED)])
            step = rng.integers(1, K, LABELLED) if kind == "random" else 1
            y = np.where(flipped, (true + step) % K, true)
            selection = _adapt(data.codes[chosen], y, data.code, data.codes[:1]).selection
            ours = suspects(selection.probabilities, y)
            naive = np.flatnonzero((selection.predicted >= 0) & (selection.predicted != y))
            found["ours"].append(_precision_recall(np.array([s.index for s in ours], np.int64), flipped))
            found["naive"].append(_precision_recall(naive, flipped))
            right.append(np.mean([s.suggested == true[s.index] for s in ours if flipped[s.index]]))
        what = f"{share:.0%} of {LABELLED} labels flipped" + (" to the next digit" if kind == "next" else " at random")
        for place, name in enumerate(("precision", "recall")):
            one = [pair[place] for pair in found["ours"]]
            other = float(np.mean([pair[place] for pair in found["naive"]]))
            note = f"{_spread(one)}; true class suggested {np.mean(right):.3f}" if place else _spread(one)
            rows.append(Row(f"{what}: {name}", float(np.mean(one)), "", other, note=note))
    return rows


def _useful(data: Embedded) -> list[Row]:
    accuracy: dict[str, list[float]] = {name: [] for name in ("start", "random", *STRATEGIES)}
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(data.y))
        start, pool, tested = np.split(order[: START + POOL + TESTED], [START, START + POOL])
        y, code = data.y, data.code
        begun = _adapt(data.codes[start], y[start], code, data.codes[np.r_[tested, pool]])
        accuracy["start"].append(float(np.mean(begun.logits[:TESTED].argmax(axis=1) == y[tested])))
        unsure = _softmax(begun.logits[TESTED:])
        asked = {
            name: suggest(MORE, probabilities=unsure, codes=data.codes[pool], labelled=data.codes[start], strategy=name)
            for name in STRATEGIES
        }
        for name, more in (("random", np.arange(MORE)), *asked.items()):
            rows = np.r_[start, pool[more]]
            logits = _adapt(data.codes[rows], y[rows], code, data.codes[tested]).logits
            accuracy[name].append(float(np.mean(logits.argmax(axis=1) == y[tested])))
    base = float(np.mean(accuracy["random"]))
    note = f"{START} labels at random give {np.mean(accuracy['start']):.3f}"
    return [
        Row(
            f"accuracy with {MORE} labels by {name}",
            float(np.mean(accuracy[name])),
            "",
            base,
            note=f"{_spread([a - b for a, b in zip(accuracy[name], accuracy['random'], strict=True)])} above; {note}",
        )
        for name in STRATEGIES
    ]


def _calibrated(data: Embedded) -> list[Row]:
    rows = []
    for n in (50, 200, 600):
        errors: tuple[list[float], list[float]] = ([], [])
        losses: tuple[list[float], list[float]] = ([], [])
        for seed in range(SEEDS):
            order = np.random.default_rng(seed).permutation(len(data.y))
            chosen, tested = order[:n], order[n : n + TESTED]
            done = _adapt(data.codes[chosen], data.y[chosen], data.code, data.codes[tested])
            for place, logits in enumerate((done.logits, done.logits * done.temperature)):
                errors[place].append(calibration_error(_softmax(logits), data.y[tested]))
                # Of a digit that no sample showed there is nothing to say, and any loss could be had.
                shown = np.isin(data.y[tested], data.y[chosen])
                losses[place].append(_log_loss(logits[shown], data.y[tested][shown]))
        for what, unit, (after, before) in (("calibration error", "", errors), ("log loss", "nats", losses)):
            row = Row(f"{what}, {n} samples", float(np.mean(after)), unit, float(np.mean(before)), note=_spread(after))
            rows.append(row)
    return rows


def _log_loss(logits: NDArray[np.float64], y: Classes) -> float:
    return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]))


def _adapt(codes: Codes, y: Classes, code: LatentCode, others: Codes) -> Fitted:
    """Choose and fit a head, and apply it to other samples; a class that no sample shows has no logit to speak of."""
    coordinates = fit_coordinates(codes, None, None, code)
    problem = Problem(coordinates.of(codes), y, K)
    selection = cross_validate(problem, AUTO)
    return Fitted(selection, fit(problem, selection.best).logits(coordinates.of(others)))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _precision_recall(found: NDArray[np.int64], flipped: NDArray[np.bool_]) -> tuple[float, float]:
    hits = np.count_nonzero(flipped[found])
    return hits / max(len(found), 1), hits / np.count_nonzero(flipped)


def _spread(found: list[float]) -> str:
    return f"{min(found):.3f} to {max(found):.3f}"


if __name__ == "__main__":
    main()
