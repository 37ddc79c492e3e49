"""The limit of job J: a process that only embeds images with the bare runtime. Prints its peak memory in MB.

`python benchmarks/bare.py MODEL IMAGES BATCH THREADS`, run as a file, so that nothing else is imported.
"""

import sys

import numpy as np
import onnxruntime


def main(model: str, images: str, batch: int, threads: int) -> None:
    """Embed every image, a batch at a time, from a file that is mapped into memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    frames = np.load(images, mmap_mode="r")
    latents = [session.run(None, {"input": frames[i : i + batch]})[0] for i in range(0, len(frames), batch)]
    assert len(np.concatenate(latents)) == len(frames)  # noqa: S101
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
