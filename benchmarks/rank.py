"""Which source to start from: the order that `acclimate rank` gives, against the order after fine-tuning.

Six sources (`benchmarks/rank_nets.py`) on five targets (`benchmarks/rank_targets.py`), all fixed beforehand. Of each
target about 200 labelled images are drawn, equally many of each class, five times. The sources are ranked on them by
each measure and by all together; no source is trained for that. The true order is that of accuracies on fresh images
after fine-tuning on the same draw: the last block in front of the cut and a new head, 20 epochs, the same settings for
all; the mean over the first three draws. Rows give Kendall's tau-b between the two orders, the mean over targets and
draws. LEEP and NCE order the three sources alone that have a head.

The expected accuracy's 95 % interval is checked against the accuracy on fresh images of a head that is adapted to the
same samples as a device does it, all heads tried, each class counting as much as it did in the draw; with 200 and with
50 samples, on five other draws: a first run, on those above, had shown it 2.5 to 2.9 points low, and what the last
fifth of the samples adds has been reckoned in since.

What was computed is kept in build/bench/rank, and a command that was cut off goes on. From nothing it takes a quarter
of an hour of one core.

Data: see `benchmarks/places.py`.  `python -m benchmarks.rank --json FILE`
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from acclimate.edge.adaptation.coordinates import embed
from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.choice.agreement import kendall_tau
from acclimate.edge.choice.expected_accuracy import expected_accuracy
from acclimate.edge.heads import Problem
from acclimate.latent import LatentCode
from acclimate.server.choice.rank import rank_sources
from acclimate.server.choice.ranking import MEASURES
from acclimate.server.choice.source import Done, Look
from acclimate.server.splits import draw_budgets

from .harness import Row, finish
from .lite0 import FOLDER
from .rank_nets import Float32, Int64, Net, fine_tuned, nets
from .rank_targets import Target, targets

DRAWS, TUNED, SIZES = 5, 3, (200, 50)
# Seeds of the draws on which intervals are checked.
CHECKED = range(5, 10)
# Targets whose fresh images are of all classes alike, as the draws are.
ALIKE = ("digits", "clothes")
HOME = FOLDER / "rank"


@dataclass(frozen=True, eq=False)
class Kept:
    """A source whose latents of a target's images are known; an image is named by its place.

    Args:
        latents: ``(n, d)`` of all images.
        probabilities: ``(n, z)`` or None.
    """

    latents: Float32
    probabilities: Float32 | None

    def look(self, frames: NDArray[Any], done: Done) -> Look:
        """Return what is known of images ``(n, 1)``. See `acclimate.server.choice.source.Source`."""
        rows = frames[:, 0]
        return Look(self.latents[rows], None if self.probabilities is None else self.probabilities[rows])


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    logging.getLogger("acclimate").setLevel(logging.ERROR)
    HOME.mkdir(parents=True, exist_ok=True)
    sources = nets()
    with threadpool_limits(1):
        found = [_measured(target, sources) for target in targets()]
    finish("rank", _rows(found, [net.name for net in sources]), ["torch", "scikit-learn"])


def _measured(target: Target, sources: Sequence[Net]) -> dict[str, Any]:
    """Return all that is measured on a target: read again, where it is kept."""
    path = HOME / f"{target.name.replace(' ', '_')}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"name": target.name, "tuned": {}}
    splits = [_drawn(target.y, seed) for seed in range(DRAWS)]
    kept: dict[str, Kept] = {}
    for net in sources:
        cache = HOME / f"{target.name} {net.name}.npz".replace(" ", "_")
        done = found["tuned"].setdefault(net.name, [])
        if cache.exists() and len(done) == TUNED:
            with np.load(cache) as read:
                kept[net.name] = Kept(read["latents"], read.get("probabilities"))
            continue
        print(f"{target.name}: {net.name} ...", file=sys.stderr, flush=True)
        maps = net.maps(target.resized(net.side))
        latents = net.latents(maps)
        kept[net.name] = one = Kept(latents.numpy(), net.probabilities(latents))
        if one.probabilities is None:
            np.savez(cache, latents=one.latents)
        else:
            np.savez(cache, latents=one.latents, probabilities=one.probabilities)
        for seed in range(len(done), TUNED):
            rows, fresh = splits[seed][SIZES[0]], splits[seed][0]
            done.append(fine_tuned(net, maps[rows], target.y[rows], maps[fresh], target.y[fresh], seed))
            path.write_text(json.dumps(found))
    if "draws" not in found:
        print(f"{target.name}: ranking ...", file=sys.stderr, flush=True)
        found["draws"] = [_ranked(kept, target.y, split) for split in splits]
        found["checked"] = [each for seed in CHECKED for each in _expected(kept, target.y, _drawn(target.y, seed))]
        found["images"] = len(target.y)
        path.write_text(json.dumps(found))
    return found


def _drawn(y: Int64, seed: int) -> dict[int, Int64]:
    """Return the rows of each size, in the order of the collection, and those to test on as of size 0."""
    k = len(np.unique(y))
    split = draw_budgets(y, sorted(size // k for size in SIZES), seed=seed)
    return {size: np.sort(split.budgets[size // k]) for size in SIZES} | {0: split.test}


def _ranked(kept: dict[str, Kept], y: Int64, split: dict[int, Int64]) -> dict[str, Any]:
    """Return the ranking on a draw, and what was expected of each source."""
    rows = split[SIZES[0]]
    ranking = rank_sources(kept, rows[:, None], y[rows])
    scores = {source.name: {**source.scores, "combined": -source.mean_rank} for source in ranking.sources}
    return {"scores": scores, "concordance": ranking.concordance, "expected": _expected(kept, y, split)}


def _expected(kept: dict[str, Kept], y: Int64, split: dict[int, Int64]) -> list[list[Any]]:
    """Return the name of each source, a size, what was expected from its lower end to its upper one, and what came."""
    found = []
    for (name, source), size in product(kept.items(), SIZES):
        rows, fresh = split[size], split[0]
        told = expected_accuracy(source.latents[rows], y[rows])
        came = adapted(source.latents[rows], y[rows], source.latents[fresh], y[fresh])
        found.append([name, size, told.accuracy, told.low, told.high, came])
    return found


def adapted(x: Float32, y: Int64, fresh: Float32, truth: Int64) -> float:
    """Return the accuracy on fresh latents of the head that `Learner.adapt` would choose and fit without a source.

    Each class counts as much, as it did in the draw: what is expected is of samples that are drawn alike.
    """
    code = LatentCode.fit(x)
    coordinates, z = embed(code.encode(x), None, None, code)
    problem = Problem(z, y, int(y.max()) + 1)
    weights = fit(problem, cross_validate(problem).best)
    right = weights.logits(coordinates.of(code.encode(fresh))).argmax(axis=1) == truth
    return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def _rows(found: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Row]:
    truth = {one["name"]: {name: float(np.mean(one["tuned"][name])) for name in names} for one in found}
    rows = [_tau(found, truth, measure) for measure in (*MEASURES, "combined")]
    agreement = [draw["concordance"] for one in found for draw in one["draws"]]
    rows.append(Row("agreement of the measures that all sources have, Kendall's W", float(np.mean(agreement)), ""))
    for measure in ("accuracy", "combined"):
        lost = [
            max(truth[one["name"]].values()) - truth[one["name"]][_first(draw["scores"], measure)]
            for one in found
            for draw in one["draws"]
        ]
        typical = [max(each.values()) - float(np.mean(list(each.values()))) for each in truth.values()]
        rows.append(
            Row(
                f"accuracy lost against the best source by taking the first by {measure}",
                100 * float(np.mean(lost)),
                "%",
                100 * float(np.mean(typical)),
                note="after fine-tuning; against a source taken at random",
            )
        )
    for size in SIZES:
        rows += _coverage([each for one in found for each in one["checked"] if each[1] == size])
    tuned = [
        (each, one["tuned"][each[0]][seed])
        for one in found
        if one["name"] in ALIKE
        for seed, draw in enumerate(one["draws"][:TUNED])
        for each in draw["expected"]
        if each[1] == SIZES[0]
    ]
    within = [low <= came <= high for (_, _, _, low, high, _), came in tuned]
    rows.append(
        Row(
            "intervals that hold the accuracy after fine-tuning the last block",
            100 * float(np.mean(within)),
            "%",
            note=f"{len(within)} of {SIZES[0]} samples, of {' and '.join(ALIKE)} alone; it does "
            f"{_points([came - each[2] for each, came in tuned])}",
        )
    )
    return rows


def _tau(found: Sequence[dict[str, Any]], truth: dict[str, dict[str, float]], measure: str) -> Row:
    """Return the mean of Kendall's tau between a measure and the order after fine-tuning."""
    by_target = {}
    for one in found:
        each = []
        for draw in one["draws"]:
            has = [name for name, scores in draw["scores"].items() if measure in scores]
            tau = kendall_tau(
                [draw["scores"][name][measure] for name in has], [truth[one["name"]][name] for name in has]
            )
            each.append(0.0 if np.isnan(tau) else tau)
        by_target[one["name"]] = float(np.mean(each))
    told = ", ".join(f"{name} {tau:.2f}" for name, tau in by_target.items())
    sources = " of the three with a head" if measure in ("leep", "nce") else ""
    return Row(f"Kendall's tau with the order after fine-tuning{sources}, {measure}", _mean(by_target), "", note=told)


def _coverage(expected: Sequence[Sequence[Any]]) -> list[Row]:
    _, size, told, low, high, came = map(np.array, zip(*expected, strict=True))
    within = (low <= came) & (came <= high)
    return [
        Row(
            f"95 % intervals that hold the accuracy of the adapted head, {size[0]} samples",
            100 * float(within.mean()),
            "%",
            note=f"{len(within)}; on average {100 * float((high - low).mean()):.1f} points wide; above it "
            f"{100 * float((low > came).mean()):.1f} %, below {100 * float((high < came).mean()):.1f} %; the head does "
            f"{_points((came - told).tolist())}",
        )
    ]


def _points(differences: Sequence[float]) -> str:
    return f"{100 * float(np.mean(differences)):+.1f} points against what was expected"


def _first(scores: dict[str, dict[str, float]], measure: str) -> str:
    return max(scores, key=lambda name: (scores[name][measure], scores[name]["accuracy"]))


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


if __name__ == "__main__":
    main()
