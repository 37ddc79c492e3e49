"""What training the last blocks on the device gains: a shift on which heads fall short, and solar cells.

The shift is that of `benchmarks/shift.py`: the best head on all taps, a tail of two of the three stages (its maps in 8
bits, BatchNorm folded), and full fine-tuning in PyTorch at a learning rate that is cross-validated, each on the same
1,000 samples. Solar cells (ELPV): 750 photos of poly-crystalline cells on EfficientNet-Lite0, with head and statistics
of mono-crystalline ones; the tail is the last convolution and the head. Class-balanced accuracy on samples that none
has seen; differences are paired by seed, with a 95 % interval. Each adaptation runs in a process of its own, on one
thread.

The goals are for digits, where heads fall short by the most; the clothes tell how far that carries.

Data: see `benchmarks/places.py`.  `python -m benchmarks.tails --json FILE`
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from examples import elpv
from numpy.typing import NDArray

from acclimate.converters import convert

from . import shift
from .harness import Row, finish
from .lite0 import FOLDER, SIZE
from .paired import paired

SEEDS, PHOTOS = 5, 750
Float64 = NDArray[np.float64]
Found = dict[str, list[dict[str, float]]]


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    shifted = [*_shift_rows("digits", "gain", "gap"), *_shift_rows("turned clothes")]
    finish("tails", [*shifted, *_cells_rows()], ["torch", "onnxruntime"])


def shift_bundle() -> Path:
    """Return the bundle of the network that knows clothes, with a tail of two stages; it is made once."""
    path = FOLDER / "shift.acc"
    if not path.exists():
        net, (frames, _) = shift.trained(), shift.clothes()
        convert(
            net,
            frames[:: len(frames) // 64],
            out=path,
            head=None,
            last=2,
            runtimes=("onnx",),
            quantize=True,
            mean=shift.MEAN,
            std=shift.STD,
        )
    return path


def cells_bundle(cells: elpv.Cells) -> Path:
    """Return the bundle of EfficientNet-Lite0 for mono-crystalline cells, with a tail; it is made once, in minutes."""
    path = FOLDER / "cells_tail.acc"
    if not path.exists():
        from examples.efficientnet_lite0 import MEAN, STD, pretrained

        FOLDER.mkdir(parents=True, exist_ok=True)
        mono = np.flatnonzero(~cells.poly)
        frames, labels = cells.frames[mono, :, :, None], np.array(elpv.CLASSES)[cells.defective[mono].astype(int)]
        convert(
            pretrained((SIZE, SIZE)),
            frames[:: len(frames) // 64],
            out=path,
            classes=elpv.CLASSES,
            source=(frames, labels),
            head="fit",
            last=1,
            runtimes=("onnx",),
            quantize=True,
            resize=(SIZE, SIZE),
            mean=MEAN / 255,
            std=STD / 255,
        )
    return path


def _shift_rows(name: str, gain_goal: str = "", gap_goal: str = "") -> list[Row]:
    bundle, found = shift_bundle(), _nothing()
    for draw in shift.draws(name, SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            samples = Path(folder, "samples.npz")
            np.savez(samples, frames=draw.frames, y=draw.y, fresh=draw.fresh, truth=draw.truth)
            _on_device(bundle, samples, found)
            found["full"].append(_run(["-m", "benchmarks.fine_tuning", str(samples), str(draw.seed)]))
    head, tail, full = (_each(found, kind, "accuracy") for kind in ("head", "tail", "full"))
    gap, gain, left = paired(full - head), paired(tail - head), paired(full - tail)
    used = int(_each(found, "tail", "used").sum())
    worst = f"{name}: points that a tail gains over the best head, the least (95 %), below 0"
    return [
        Row(f"{name}: points that full fine-tuning is above the best head", gap.mean, "%", note=f"paired {gap}"),
        Row(worst, -gain.low, "%", 0.0, gain_goal, f"paired {gain}; used in {used} of {SEEDS}"),
        Row(f"{name}: left of the gap by a tail", left.mean, "%", gap.mean, gap_goal, f"paired {left}"),
        Row(f"{name}: accuracy of a tail", tail.mean(), "%", head.mean(), note=f"sd {tail.std(ddof=1):.1f}; of a head"),
        *_costs(name, found, "full"),
    ]


def _cells_rows() -> list[Row]:
    cells, found = elpv.load(), _nothing()
    bundle, y = cells_bundle(cells), cells.defective.astype(np.int64)
    for seed in range(SEEDS):
        split = elpv.split(cells, seed)
        rows, test = split.arrivals[:PHOTOS], split.test
        with tempfile.TemporaryDirectory() as folder:
            samples, names = Path(folder, "samples.npz"), np.array(elpv.CLASSES)
            frames = cells.frames[..., None]
            np.savez(samples, frames=frames[rows], y=y[rows], fresh=frames[test], truth=y[test], names=names)
            _on_device(bundle, samples, found)
    head, tail = (_each(found, kind, "accuracy") for kind in ("head", "tail"))
    gain, used = paired(tail - head), int(_each(found, "tail", "used").sum())
    return [
        Row(
            f"solar cells, {PHOTOS} photos: points by which the best head is better",
            0.0 - gain.mean,
            "%",
            0.0,
            "cells",
            f"tail against head paired {gain}; the tail was used in {used} of {SEEDS}",
        ),
        *_costs(f"solar cells, {PHOTOS} photos", found, "head"),
    ]


def _costs(name: str, found: Found, beside: str) -> list[Row]:
    told = {"full": "full fine-tuning, without choosing its rate", "head": "a head"}[beside]

    def median(kind: str, what: str) -> float:
        return float(np.median(_each(found, kind, what)))

    return [
        Row(f"{name}: adapting a tail", median("tail", "seconds"), "s", median(beside, "seconds"), note=told),
        Row(f"{name}: peak memory", median("tail", "memory"), "MB", median(beside, "memory"), note=told),
    ]


def _on_device(bundle: Path, samples: Path, found: Found) -> None:
    for kind in ("head", "tail"):
        found[kind].append(_run(["benchmarks/tails_device.py", str(bundle), str(samples), kind]))


def _run(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _nothing() -> Found:
    return defaultdict(list)


def _each(found: Found, kind: str, what: str) -> Float64:
    return np.array([one[what] for one in found[kind]], np.float64)


if __name__ == "__main__":
    main()
