"""Whether `acclimate advise` advises well: regret in hindsight, planted negatives refused, honest pairs accepted.

Pairs are those of `benchmarks/advise_pairs.py`, on none of which anything was developed. Of each target a few samples
are labelled (24 in all, at least 3 of each class, classes alike), up to 300 others come without a label, and up to 500
more, which nothing sees, are tested on. Seeds 5 to 9: the advice before this one was judged on 0 to 4, whose figures
were known when its rules were changed. Four kinds of a pair:

* as it is: regret is the accuracy of the best of all methods on the test samples, known in hindsight, less that of the
  advice (the target alone, where it says not to transfer);
* honest: both sides are halves of the target, drawn at random (of the larger side, where the target has less than 300
  samples), so that nothing differs: to be accepted;
* permuted: the source's labels are dealt out anew; and unrelated: the source is that of another collection, its
  features cut or repeated to the target's width, its classes named as the target's: to be refused.

What was computed is kept in build/bench/advise, and a command that was cut off goes on: take it away where methods
change. From nothing it takes about half an hour of one core.
`python -m benchmarks.advise [--first-seed N] [--seeds N] [--data DIR] --json FILE`
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from acclimate.errors import AcclimateError
from acclimate.server.advice import advise
from acclimate.server.advice.advise import wilson
from acclimate.server.advice.given import check_given
from acclimate.server.advice.method import BALANCED, POOL, SOURCE_ONLY, TARGET_ONLY
from acclimate.server.advice.methods import METHODS

from .advise_pairs import Side, Sides, pairs
from .harness import Row, finish

FIRST, SEEDS, KINDS = 5, 5, ("as it is", "honest", "permuted", "unrelated")
# A number for each set of rules: what others said is no answer.
HOME = Path("build/bench/advise/2")
_PLACE = "ACCLIMATE_DATA"
_LABELLED, _OF_EACH, _UNLABELLED, _TESTED, _SOURCE, _LEAST = 24, 3, 300, 500, 600, 300
Int64 = NDArray[np.int64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each pair; {SEEDS} by default")
    parser.add_argument("--first-seed", type=int, default=FIRST, help=f"{FIRST} by default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get(_PLACE, "../shared/data")))
    wanted, rest = parser.parse_known_args()
    # What is left is for the harness.
    sys.argv[1:] = rest
    HOME.mkdir(parents=True, exist_ok=True)
    makers, missing = pairs(wanted.data if wanted.data.is_dir() else None)
    for one in missing:
        print(f"left out: {one}", file=sys.stderr)
    runs = []
    with threadpool_limits(1):
        for seed in range(wanted.first_seed, wanted.first_seed + wanted.seeds):
            for number, make in enumerate(makers):
                runs += [measured(make(seed), kind, seed, makers, number) for kind in KINDS]
    finish("advise", _rows(runs), ["scikit-learn"])


def measured(
    sides: Sides, kind: str, seed: int, makers: Sequence[Callable[[int], Sides]], number: int
) -> dict[str, Any]:
    """Return what came out for one pair, kind and seed: read again, where it is kept."""
    path = HOME / f"{sides.name} {kind} {seed}.json".replace(" ", "_").replace(">", "")
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    print(f"{sides.name}, {kind}, {seed} ...", file=sys.stderr, flush=True)
    rng = np.random.default_rng(seed)
    source, target = _planted(sides, kind, rng, makers, number, seed)
    labelled, others, tested = _drawn(target[1], rng)
    rows = np.concatenate([labelled, others])
    y = np.concatenate([target[1][labelled], np.full(len(others), -1)])
    found = {"name": sides.name, "kind": kind, "seed": seed}
    said = advise(*source, target[0][rows], y, seed=seed).to_dict()
    found |= {
        "advice": {key: said[key] for key in ("recommended", "harm", "gain", "gain_low", "related", "accuracy_gain")}
    }
    found["cross_validated"] = {
        one["name"]: one["accuracy"] for one in said["candidates"] if one["accuracy"] is not None
    }
    if kind == "as it is":
        found["tested"] = _tested(source, target, rows, y, tested, seed)
    path.write_text(json.dumps(found))
    return found


def _planted(
    sides: Sides,
    kind: str,
    rng: np.random.Generator,
    makers: Sequence[Callable[[int], Sides]],
    number: int,
    seed: int,
) -> tuple[Side, Side]:
    x, y = sides.target
    if kind == "honest":
        # Of a small target, halves would leave next to nothing.
        x, y = sides.target if len(y) >= _LEAST else max(sides.source, sides.target, key=lambda side: len(side[1]))
        order = rng.permutation(len(y))
        half = len(y) // 2
        return _few((x[order[:half]], y[order[:half]]), rng), (x[order[half:]], y[order[half:]])
    source = _few(sides.source, rng)
    if kind == "permuted":
        source = source[0], rng.permutation(source[1])
    if kind == "unrelated":
        # Half of the list away lies another collection.
        other, named = _few(makers[(number + len(makers) // 2) % len(makers)](seed).source, rng)
        repeated = np.tile(other, (1, -(-x.shape[1] // other.shape[1])))[:, : x.shape[1]]
        classes = np.unique(y)
        source = repeated, classes[named % len(classes)]
    return source, sides.target


def _few(side: Side, rng: np.random.Generator) -> Side:
    rows = rng.permutation(len(side[1]))[:_SOURCE]
    return side[0][rows], side[1][rows]


def _drawn(y: Int64, rng: np.random.Generator) -> tuple[Int64, Int64, Int64]:
    """Return which samples are labelled, which come without a label, and which are tested on."""
    classes = np.unique(y)
    of_each = max(_OF_EACH, -(-_LABELLED // len(classes)))
    order = rng.permutation(len(y))
    # Of a small class, half is left to be tested on.
    own = [order[y[order] == c] for c in classes]
    labelled = np.concatenate([rows[: min(of_each, max(len(rows) // 2, 1))] for rows in own])
    rest = order[~np.isin(order, labelled)]
    half = len(rest) // 2
    return labelled, rest[:half][:_UNLABELLED], rest[half:][:_TESTED]


def _tested(source: Side, target: Side, rows: Int64, y: Int64, tested: Int64, seed: int) -> dict[str, float]:
    """Return each method's accuracy on the test samples, fitted to all that is labelled."""
    given = check_given(*source, target[0][rows], y, seed=seed)
    place = {name: i for i, name in enumerate(given.classes)}
    truth = np.array([place.get(str(one), -1) for one in target[1][tested]])
    fresh = given.space.apply(target[0][tested])
    found = {}
    for method in METHODS:
        if method.why_not(given.pair) is None:
            try:
                found[method.name] = float((method.fit(given.pair)(fresh).argmax(axis=1) == truth).mean())
            except AcclimateError:
                continue
    return found


def _rows(runs: Sequence[dict[str, Any]]) -> list[Row]:
    real = [one for one in runs if one["kind"] == "as it is"]
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for one in real:
        by_pair.setdefault(one["name"], []).append(one)
    rows = []
    for name, found in by_pair.items():
        best = [max(one["tested"].values()) for one in found]
        advised = [_advised(one) for one in found]
        alone = [one["tested"][TARGET_ONLY] for one in found]
        said = ", ".join(sorted({one["advice"]["recommended"] or "none" for one in found}))
        note = f"+- {_spread(best, advised):.1f}; best {_percent(best)}, advised {_percent(advised)}, "
        rows.append(
            Row(
                f"regret, {name}",
                100 * float(np.mean(best) - np.mean(advised)),
                "points",
                100 * float(np.mean(best) - np.mean(alone)),
                note=f"{note}target alone {_percent(alone)}; advised: {said}",
            )
        )
    ways: dict[str, Callable[[dict[str, Any]], str]] = {
        "the advice": lambda one: one["advice"]["recommended"] or TARGET_ONLY,
        "the best cross-validated accuracy": lambda one: max(
            one["cross_validated"], key=lambda name: one["cross_validated"][name]
        ),
        "always the target alone": lambda one: TARGET_ONLY,
        "always the source alone": lambda one: SOURCE_ONLY,
        "always the pool": lambda one: POOL,
        "always the balanced pool": lambda one: BALANCED,
    }
    for way, choose in ways.items():
        lost = [
            float(np.mean([max(one["tested"].values()) - one["tested"][choose(one)] for one in found]))
            for found in by_pair.values()
        ]
        rows.append(
            Row(
                f"mean regret of {way}",
                100 * float(np.mean(lost)),
                "points",
                note=f"{len(lost)} pairs; at most {100 * max(lost):.1f}",
            )
        )
    for way, choose in (
        ("advice to transfer", ways["the advice"]),
        ("the balanced pool", ways["always the balanced pool"]),
    ):
        harmed = [one["tested"][TARGET_ONLY] - one["tested"][choose(one)] for one in real]
        rows.append(
            Row(
                f"{way} that is worse than the target alone",
                100 * float(np.mean([one > 0 for one in harmed])),
                "%",
                note=f"of {len(harmed)}; by {100 * float(np.max(harmed)):.1f} points at worst",
            )
        )
    rows.append(_share(real, "transfer advised, pairs as they are", ""))
    rows.append(_share([one for one in runs if one["kind"] == "honest"], "accepted, honest pairs", "accepted"))
    rows += [
        _share([one for one in runs if one["kind"] == kind], f"refused, {kind} source", "refused")
        for kind in ("permuted", "unrelated")
    ]
    negatives = [one for one in runs if one["kind"] in ("permuted", "unrelated")]
    rows.append(_share(negatives, "refused, planted negatives", "refused"))
    return rows


def _advised(one: dict[str, Any]) -> float:
    found: float = one["tested"][one["advice"]["recommended"] or TARGET_ONLY]
    return found


def _share(runs: Sequence[dict[str, Any]], metric: str, goal: str) -> Row:
    refuse = metric.startswith("refused")
    right = [(one["advice"]["recommended"] is None) == refuse for one in runs]
    share = float(np.mean(right))
    low, high = wilson(share, len(right))
    wrong = sorted({one["name"] for one, fine in zip(runs, right, strict=True) if not fine})
    note = f"{sum(right)} of {len(right)}, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    if goal and wrong:
        note += f"; not: {', '.join(wrong)}"
    # Goals bound what goes wrong from above.
    if goal:
        return Row(f"not {metric}", 100 * (1 - share), "%", 0.0, goal, note)
    return Row(metric, 100 * share, "%", note=note)


def _spread(best: Sequence[float], advised: Sequence[float]) -> float:
    return 100 * float(np.std(np.subtract(best, advised), ddof=1)) if len(best) > 1 else 0.0


def _percent(values: Sequence[float]) -> str:
    return f"{100 * float(np.mean(values)):.1f} %"


if __name__ == "__main__":
    main()
