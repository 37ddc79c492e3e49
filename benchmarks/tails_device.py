"""A device that adapts, with its last blocks or without, and predicts frames that it has not seen.

`python benchmarks/tails_device.py BUNDLE SAMPLES head|tail`, run as a file, so that nothing else is imported. Prints
the balanced accuracy, what adapting took in seconds and in seconds of the processor, its peak memory in MB, and whether
the tail took the head's place.
"""

import json
import sys
import time

import numpy as np

from acclimate.edge import Learner


def main(bundle: str, samples: str, kind: str) -> None:
    """Observe, adapt, predict and print."""
    with np.load(samples) as given, Learner.open(bundle, runtime="onnx", threads=1) as learner:
        names = (
            given["names"] if "names" in given else np.array([f"class {i}" for i in range(int(given["y"].max()) + 1)])
        )
        frames, y, truth = given["frames"], given["y"], given["truth"]
        for i in range(0, len(frames), 50):
            learner.observe(frames[i : i + 50], names[y[i : i + 50]], on_duplicate="skip")
        wall, cpu = time.perf_counter(), time.process_time()
        report = learner.adapt(tail=kind == "tail", on_insufficient="apply")
        spent = time.perf_counter() - wall, time.process_time() - cpu
        with open("/proc/self/status") as status:
            memory = int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        fresh = given["fresh"]
        found = np.concatenate([learner.predict(fresh[i : i + 50]).labels for i in range(0, len(fresh), 50)])
    right = found == names[truth]
    told = {"accuracy": 100 * float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))}
    told |= {"seconds": spent[0], "cpu": spent[1], "memory": memory}
    print(json.dumps({**told, "used": report.tail is not None and report.tail.used, "applied": report.applied}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
