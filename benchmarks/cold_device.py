"""A device that starts and predicts one frame. Prints its peak memory in MB.

`python benchmarks/cold_device.py BUNDLE IMAGES [STORE]`.
"""

import sys

import numpy as np

from acclimate.edge import Learner


def main(bundle: str, images: str, store: str | None = None) -> None:
    """Open the bundle, with a store or without, and predict the first frame of a file."""
    with Learner.open(bundle, store, runtime="onnx") as learner:
        assert len(learner.predict(np.load(images, mmap_mode="r")[:1]).labels) == 1  # noqa: S101
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
