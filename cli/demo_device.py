"""The device of the demo: a process of its own, in which neither torch nor TensorFlow can be imported.

`python -m acclimate.cli.demo_device TASK.json` reads a task, works through it, and prints one JSON object a line:
progress, and at last the result.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HEAVY = ("torch", "tensorflow", "onnx", "jax", "sklearn", "scipy", "litert_torch")


class Refuse(MetaPathFinder):
    """Makes the import of heavy packages fail, as on a device that has none."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ImportError for a heavy package."""
        if fullname.partition(".")[0] in HEAVY:
            raise ImportError(f"{fullname} is not on this device")
        return None


def peak_memory() -> int:
    """Return this process's greatest resident memory so far in bytes."""
    try:
        # Not `ru_maxrss`: on Linux a new process inherits the greatest size of the one that started it.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(path: Path) -> None:
    """Work through a task.

    Args:
        path: JSON file with `bundle`, `data` (npz with `frames` and `labels`), `runtime`, `budgets` (samples a class),
            `splits` (per seed the rows to adapt on, class by class, and the rows to test on) and `store`, which keeps
            the samples of the last seed.
    """
    sys.meta_path.insert(0, Refuse())
    import numpy as np

    from ..edge import Learner

    task = json.loads(path.read_text())
    with np.load(task["data"], allow_pickle=False) as data:
        frames, labels = data["frames"], data["labels"]
    budgets, splits = task["budgets"], task["splits"]
    rows: list[dict[str, Any]] = []
    confusions: dict[str, list[list[int]]] = {}
    for number, split in enumerate(splits):
        last = number == len(splits) - 1
        with Learner.open(
            task["bundle"], task["store"] if last else None, runtime=task["runtime"], new_classes="refuse", threads=1
        ) as learner:
            test, truth = frames[split["test"]], labels[split["test"]]
            before, seen = learner.predict(test).labels, 0
            for budget in budgets:
                chosen = [row for rows_of_class in split["adapt"] for row in rows_of_class[seen:budget]]
                seen = budget
                begun = time.perf_counter()
                learner.observe(frames[chosen], labels[chosen].tolist(), on_duplicate="skip")
                observed = time.perf_counter()
                report = learner.adapt()
                adapted = time.perf_counter()
                after = learner.predict(test).labels
                rows.append(
                    {
                        "seed": number,
                        "budget": budget,
                        "before": float(np.mean(before == truth)),
                        "after": float(np.mean(after == truth)),
                        "estimate": report.after,
                        "applied": report.applied,
                        "reason": report.reason,
                        "head": report.chosen.setting.head,
                        "source_weight": report.chosen.setting.source_weight,
                        "observe_seconds": observed - begun,
                        "adapt_seconds": adapted - observed,
                    }
                )
                print(json.dumps({"progress": [len(rows), len(splits) * len(budgets)]}), flush=True)
            if last:
                classes = tuple(learner.classes)
                confusions = {
                    "before": _confusion(truth.tolist(), before.tolist(), classes),
                    "after": _confusion(truth.tolist(), after.tolist(), classes),
                }
                latency = _latency(learner, frames[split["test"]])
                description = learner.runtime
    result = {
        "rows": rows,
        "classes": classes,
        "confusion": confusions,
        "milliseconds": latency,
        "peak_bytes": peak_memory(),
        "runtime": description,
        "heavy": sorted(set(HEAVY) & set(sys.modules)),
    }
    print(json.dumps({"result": result}), flush=True)


def _confusion(truth: list[str], found: list[str], classes: tuple[str, ...]) -> list[list[int]]:
    place = {name: i for i, name in enumerate(classes)}
    table = [[0] * len(classes) for _ in classes]
    for a, b in zip(truth, found, strict=True):
        table[place[a]][place[b]] += 1
    return table


def _latency(learner: Any, frames: Any) -> float:
    """Return the median of milliseconds that one prediction takes."""
    times = []
    for i in range(200):
        frame = frames[i % len(frames)]
        begun = time.perf_counter()
        learner.predict(frame)
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2] * 1000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
