"""The device of job J: open, observe 200 labelled images, adapt. Prints its peak memory in MB.

`python benchmarks/job_j_device.py BUNDLE STORE IMAGES`.
"""

import sys

import numpy as np

from acclimate.edge import Learner


def main(bundle: str, store: str, images: str) -> None:
    """Do the job, with images streamed from a file that is mapped into memory."""
    frames = np.load(images, mmap_mode="r")
    with Learner.open(bundle, store, runtime="onnx") as learner:
        for i in range(0, len(frames), 40):
            learner.observe(frames[i : i + 40], [f"class {j % 10}" for j in range(i, min(i + 40, len(frames)))])
        report = learner.adapt()
        assert report.applied and report.samples == len(frames)  # noqa: S101, PT018
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:4])
