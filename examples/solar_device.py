"""The device of the solar cells: a process of its own, in which neither torch nor TensorFlow can be imported.

    python -m examples.solar_device build/solar/cells-all.acc --runtime onnx --seeds 0 1

It prints one JSON object a line: `progress`, a `row` per seed and number of photos, and at last `device`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

# None in sys.modules makes an import fail, as on a device that has none of them.
HEAVY = ("torch", "tensorflow", "onnx", "sklearn", "scipy", "litert_torch")
sys.modules.update(dict.fromkeys(HEAVY) if __name__ == "__main__" else {})  # type: ignore[arg-type]

import numpy as np  # noqa: E402

from acclimate.edge import Learner  # noqa: E402

from .elpv import BUDGETS, CLASSES, Cells, Indices, Score, load, score, split  # noqa: E402


def evaluate(learner: Learner, cells: Cells, photos: Indices) -> Score:
    """Score the head in use on photos that it was not fitted on."""
    predicted = learner.predict(cells.frames[photos, :, :, None])
    confidence = predicted.probabilities[:, predicted.classes.index(CLASSES[1])]
    return score(cells.defective[photos], predicted.labels == CLASSES[1], confidence)


def adapt_to(
    learner: Learner, cells: Cells, seed: int, unsure: Literal["keep", "apply"], tick: Callable[[int], None]
) -> list[dict[str, Any]]:
    """Adapt to the first 20, 50, 200, 750 photos of a split, each time starting from the shipped head.

    Args:
        learner: A learner with an empty store.
        cells: All photos.
        seed: Of the split.
        unsure: What to do with a candidate that the held-out photos are too few to judge.
        tick: Called with the number of photos looked at since the last call.

    Returns:
        One row per number of photos.
    """
    part = split(cells, seed)
    names = np.array(CLASSES)[cells.defective[part.arrivals].astype(int)].tolist()
    before = evaluate(learner, cells, part.test)
    tick(len(part.test))
    # Every photo is looked at once, when it arrives; its label may come later.
    ids = learner.observe(cells.frames[part.arrivals, :, :, None])
    tick(len(ids))
    rows, labelled = [], 0
    for photos in BUDGETS:
        learner.label(ids[labelled:photos], names[labelled:photos])
        labelled = photos
        if not learner.versions()[0].current:
            learner.rollback(0)
        report = learner.adapt(on_insufficient=unsure)
        setting = report.chosen.setting
        row = {"seed": seed, "photos": photos, "before": asdict(before)}
        row |= {"after": asdict(evaluate(learner, cells, part.test)), "verdict": report.judgement.verdict}
        row |= {
            "applied": report.applied,
            "head": setting.head,
            "source_weight": setting.source_weight,
            "seconds": report.seconds,
        }
        rows.append(row | {"reason": report.reason})
        tick(len(part.test))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Work through the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runtime", choices=("onnx", "tflite"), default="onnx")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--unsure", choices=("keep", "apply"), default="apply")
    asked = parser.parse_args(arguments)
    cells = load()
    part = split(cells, asked.seeds[0])
    total = len(asked.seeds) * (len(part.arrivals) + (1 + len(BUDGETS)) * len(part.test))
    done = 0

    def tick(photos: int) -> None:
        nonlocal done
        done += photos
        print(json.dumps({"progress": [done, total]}), flush=True)

    for seed in asked.seeds:
        with Learner.open(asked.bundle, runtime=asked.runtime, new_classes="refuse") as learner:
            for row in adapt_to(learner, cells, seed, asked.unsure, tick):
                print(json.dumps({"row": row}), flush=True)
            description = learner.runtime
    heavy = sorted(name for name in HEAVY if sys.modules.get(name))
    print(json.dumps({"device": {"runtime": description, "heavy": heavy}}), flush=True)


if __name__ == "__main__":
    main()
