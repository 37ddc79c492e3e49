"""The tutorial that everybody follows, against Acclimate: the same split, accuracy beside time.

PyTorch trains a new last layer on a frozen EfficientNet-Lite0 for 10 epochs (Adam, batches of 16), once with the
backbone in every epoch and once on features computed before. Acclimate observes and adapts with defaults. Data: ELPV,
solar cells, 200 photos to adapt on and 335 to test on, of poly-crystalline cells; every part runs in a process of its
own.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from .harness import Row, finish
from .lite0 import bundle

REPEATS = 3
WAYS = ("ours", "cached", "tutorial")


def main() -> None:
    """Measure and print."""
    path = str(bundle())
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(REPEATS):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.pytorch_ways", way, path, str(turn)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way].append(json.loads(done.stdout))

    def median(way: str, what: str) -> float:
        return statistics.median(run[what] for run in found[way])

    rows = []
    for way, title in (("tutorial", "PyTorch, frozen backbone in every epoch"), ("cached", "PyTorch, features cached")):
        rows += [
            Row(f"seconds, against {title}", median("ours", "seconds"), "s", median(way, "seconds")),
            Row(f"processor seconds, against {title}", median("ours", "cpu"), "s", median(way, "cpu")),
            Row(f"peak memory, against {title}", median("ours", "memory"), "MB", median(way, "memory")),
            Row(f"balanced accuracy, against {title}", median("ours", "accuracy"), "", median(way, "accuracy")),
        ]
    finish("pytorch", rows, ["onnxruntime", "torch"])


if __name__ == "__main__":
    if not Path("benchmarks").is_dir():
        sys.exit("expected to run in the root of the repository")
    main()
