"""Job J: a fresh device process learns 10 classes from 200 images, against the bare runtime embedding the same images.

EfficientNet-Lite0, int8, all taps, 224 x 224. Both sides include the start of their process. The limit is the bare loop
at its best batch size and number of threads.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acclimate import Bundle

from .harness import Row, alternate, finish
from .lite0 import bundle, images
from .process import run_python

SAMPLES = 200
BATCHES, THREADS = (1, 4, 8, 16, 32), (1, 2)


def main() -> None:
    """Measure and print."""
    path = bundle()
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder, "backbone.onnx"), Path(folder, "images.npy")
        with Bundle(path) as opened:
            model.write_bytes(opened.backbone("onnx"))
        np.save(data, images(SAMPLES))
        peaks: dict[str, list[float]] = {"bare": [], "ours": []}

        def bare(batch: int, threads: int) -> Callable[[], None]:
            command = ["benchmarks/bare.py", str(model), str(data), str(batch), str(threads)]
            return lambda: peaks["bare"].append(run_python(command))

        def ours() -> None:
            for old in Path(folder).glob("job.db*"):
                old.unlink()
            command = ["benchmarks/job_j_device.py", str(path), str(Path(folder, "job.db")), str(data)]
            peaks["ours"].append(run_python(command))

        tried = alternate({f"{b} {t}": bare(b, t) for b in BATCHES for t in THREADS}, 2)
        best = min(tried, key=lambda name: tried[name].wall)
        batch, threads = map(int, best.split())
        peaks = {"bare": [], "ours": []}
        cost = alternate({"bare": bare(batch, threads), "ours": ours}, 9)
    best_setting = f"best of {len(tried)}: batch {batch}, {threads} threads"
    rows = [
        Row("wall", cost["ours"].wall, "s", cost["bare"].wall, "wall", best_setting),
        Row("processor time", cost["ours"].cpu, "s", cost["bare"].cpu),
        Row("peak memory", float(np.median(peaks["ours"])), "MB", float(np.median(peaks["bare"])), "peak_memory"),
    ]
    finish("job_j", rows, ["onnxruntime"])


if __name__ == "__main__":
    main()
