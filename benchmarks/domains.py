"""Adaptation without labels between two collections of digits: what MK-MMD gains, and whether the guard sees harm.

The published samples of USPS (1,800) and MNIST (2,000), 16 x 16, both ways. A small network is trained for 800 steps
of 64 samples on the labels of one and the images of the other, by `pretrain` with settings and objectives as they ship:
dan (MK-MMD), jan, deep-coral and dann, and on the source alone. Scored on the labels of the target, which neither
training nor the guard sees. Weights, aligned layers and the way back were chosen on MNIST and the digits of UCI; the
guard's margin for chance was added when seed 0 had been seen once, with another learning rate, and the answers as a
layer of dan when all seeds had been seen without. Each model is judged by the guard as `pretrain` does it; what counts
is the model that it then keeps: that of the source where it refuses.

The files are not part of the project: `--data DIR`, or ACCLIMATE_DATA, or ../shared/data, has usps_mnist.npz. Runs that
are done are kept in build/bench/domains, so that one that was cut off goes on.

`python -m benchmarks.domains [--seeds N] [--data DIR] --json FILE`
"""

import argparse
import json
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, load_data
from acclimate.server.pretrain import pretrain
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings
from acclimate.server.transfer.guarded import Pair, answers, judge_models

from .harness import Row, finish

SEEDS, STEPS, BATCH = 3, 800, 64
# Seeds of dann from the first domain to the second, where it is known to fail.
FAILURES = 10
METHODS = ("dan", "jan", "deep-coral", "dann")
DIRECTIONS = (("mnist", "usps"), ("usps", "mnist"))
HOME = Path("build/bench/domains")
_PLACE = "ACCLIMATE_DATA"
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One method in one direction, over seeds, accuracies in percent.

    Args:
        plain: Of the model trained on the source alone, ``(seeds,)``.
        adapted: Of the adapted one.
        kept: Whether the guard kept it.
    """

    plain: Float64
    adapted: Float64
    kept: NDArray[np.bool_]

    @property
    def guarded(self) -> Float64:
        """Accuracy of the model that is kept."""
        return np.where(self.kept, self.adapted, self.plain)


def network(seed: int) -> nn.Sequential:
    """Return the network before training: two convolutions, a hidden layer of 128 units, a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10)),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each method; {SEEDS} by default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get(_PLACE, "../shared/data")))
    wanted, rest = parser.parse_known_args()
    # What is left is for the harness.
    sys.argv[1:] = rest
    file = wanted.data / "usps_mnist.npz"
    if not file.is_file():
        raise SystemExit(f"expected usps_mnist.npz in {wanted.data}, found none. Name its folder with --data.")
    torch.set_num_threads(1)
    # That nothing is kept for validation, which is meant.
    logging.getLogger("acclimate").setLevel(logging.ERROR)
    HOME.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, dict[str, Any]]] = {f"{a.upper()} -> {b.upper()}": {} for a, b in DIRECTIONS}
    # What the goals are about comes first, should this be cut off.
    for methods in (("dan", "dann"), METHODS):
        for seed in range(max(wanted.seeds, FAILURES)):
            for runs, (source, target) in zip(found.values(), DIRECTIONS, strict=True):
                own = methods if seed < wanted.seeds else ("dann",) if (source, target) == DIRECTIONS[0] else ()
                if own:
                    runs[seed] = measured(file, source, target, seed, own)
    finish("domains", _rows({name: outcomes(list(runs.values())) for name, runs in found.items()}), ["torch"])


def outcomes(runs: list[dict[str, Any]]) -> dict[str, Outcome]:
    """Return each method over the seeds that it was measured with."""
    return {
        name: Outcome(
            np.array([run["source-only"] for run in runs if name in run]),
            np.array([run[name]["accuracy"] for run in runs if name in run]),
            np.array([run[name]["kept"] for run in runs if name in run]),
        )
        for name in METHODS
    }


def measured(file: Path, source: str, target: str, seed: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracies and verdicts of one seed in one direction; what an earlier attempt had is not done again."""
    kept = HOME / f"{source}-{target}-{seed}.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    if missing := [name for name in methods if name not in found]:
        data, labels = loaded(file, source, target, seed)
        plain = _trained(data, "dan", seed, weight=0.0)
        found["source-only"] = _accuracy(plain, data, labels)
        for name in missing:
            adapted = _trained(data, name, seed)
            verdict = judge_models(Pair(plain, adapted), data, _settings(data, name, seed), torch.device("cpu"))
            accuracy = _accuracy(adapted, data, labels)
            found[name] = {"accuracy": accuracy, "kept": verdict.kept, "scores": dict(verdict.scores)}
            kept.write_text(json.dumps(found, indent=2) + "\n")
    return found


def loaded(file: Path, source: str, target: str, seed: int) -> tuple[Data, NDArray[np.int64]]:
    """Return the data of one direction, and the target's labels apart from it."""
    arrays = np.load(file)
    places = {name: HOME / f"{name}.npz" for name in (source, target)}
    for name, place in places.items():
        np.savez(place, x=arrays[f"{name}_x"].reshape(-1, 1, 16, 16), y=arrays[f"{name}_y"])
    settings = DataSettings(train=str(places[source]), target=str(places[target]), validation_share=0.0)
    return load_data(settings, seed=seed), arrays[f"{target}_y"].astype(np.int64) - 1


def _trained(data: Data, method: str, seed: int, *, weight: float | None = None) -> nn.Module:
    out = HOME / "run"
    shutil.rmtree(out, ignore_errors=True)
    run = pretrain(_settings(data, method, seed, weight), out=out, data=data, model=network(seed), device="cpu")
    return run.model


def _settings(data: Data, method: str, seed: int, weight: float | None = None) -> PretrainConfig:
    steps = len(data.train.names or ()) // BATCH
    return PretrainConfig(
        ModelSettings(name="benchmarks.domains:network"),
        DataSettings(train="handed over"),
        TrainingSettings(epochs=round(STEPS / steps), batch_size=BATCH, seed=seed),
        # The guard judges below, beside one model of the source alone for all methods.
        ObjectiveSettings(name=method, adaptation_weight=weight, guard=False),
        RunSettings(tensorboard=False, report=False, log_every=100),
    )


def _accuracy(model: nn.Module, data: Data, labels: NDArray[np.int64]) -> float:
    assert data.target is not None  # noqa: S101 - it was loaded
    logits = answers(model, data.target.dataset, np.arange(len(labels)), (), torch.device("cpu"))[1]
    return float((logits.argmax(1) == labels).mean() * 100)


def _rows(found: dict[str, dict[str, Outcome]]) -> list[Row]:
    rows: list[Row] = []
    for way, methods in found.items():
        for name, one in methods.items():
            spread = f"{one.guarded.min():.1f} to {one.guarded.max():.1f}; unguarded {one.adapted.mean():.1f}"
            kept = f"kept with {one.kept.sum()} of {len(one.kept)} seeds"
            rows.append(
                Row(f"{way}, {name}", float(one.guarded.mean()), "%", float(one.plain.mean()), "", f"{spread}; {kept}")
            )
        dan = methods["dan"]
        least = int((dan.guarded - dan.plain).argmin())
        rows.append(
            Row(
                f"{way}, source alone where MK-MMD gains least",
                float(dan.plain[least]),
                "points",
                float(dan.guarded[least]),
                "mk_mmd",
                f"seed {least}",
            )
        )
    way = next(iter(found))
    dann = found[way]["dann"]
    harmed = dann.adapted < dann.plain
    missed = float((harmed & dann.kept).mean())
    note = f"worse than the source alone with {harmed.sum()} of {len(harmed)} seeds, refused with {(~dann.kept).sum()}"
    rows.append(Row(f"{way}, seeds with harm by dann that is kept", missed, "share", 0.0, "missed", note))
    losses = {(way, name): one.plain - one.guarded for way, each in found.items() for name, one in each.items()}
    where = max(losses, key=lambda key: float(losses[key].max()))
    rows.append(
        Row("largest loss by a model that is kept", float(losses[where].max()), "points", 0.0, "loss", " ".join(where))
    )
    return rows


if __name__ == "__main__":
    main()
