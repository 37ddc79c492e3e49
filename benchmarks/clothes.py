"""A student a tenth the size of its teacher, on Fashion-MNIST: distilled, then brought to 8 bits.

The teacher and its students are trained by `pretrain` on 54,000 of the training images; the best of the epochs is taken
by the other 6,000, on which sizes and settings were chosen, too. The 10,000 test images are answered here alone, by
bundles in ONNX Runtime: the teacher's, each student's in float, in 8 bits after static quantization, and in 8 bits
after quantization-aware training. Differences are paired by test image, and means over the students, with a 95 %
interval. Latency is that of one sample on one thread, backbone and head, all bundles in turn.

There is one teacher; students differ by their seed. What was trained is kept in build/bench/clothes, and a run that was
cut off is gone on with. From nothing the command takes a quarter of an hour of one core, and six minutes a student.

Data: see `benchmarks/places.py`.  `python -m benchmarks.clothes --seeds N --json FILE`
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.converters import convert
from acclimate.server.compress import quantize_aware

from .clothes_nets import MEAN, STD, Frames, images, to_batches, trained_student, trained_teacher
from .device_model import costs, right
from .harness import Row, finish
from .paired import paired

SEEDS = 5
STEPS = 200
KINDS = ("float", "static", "aware")
_CALIBRATION = 256
# What stands in the table for each way to 8 bits.
_WORDS = {"static": "static 8 bits", "aware": "8 bits, quantization-aware"}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"students; {SEEDS} by default")
    options, others = parser.parse_known_args()
    sys.argv[1:] = others
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows(Path(folder), options.seeds)
    finish("clothes", rows, ["torch", "onnxruntime", "onnx"])


def bundles(student: nn.Module, folder: Path, shown: Frames) -> dict[str, Path]:
    """Convert a student in each of the ways.

    Args:
        student: It is not changed.
        folder: Where the bundles go.
        shown: Training images; the first of them calibrate, all of them train for 8 bits, without labels.

    Returns:
        The bundle of each of `KINDS`.
    """
    aware, _ = quantize_aware(student, to_batches(shown), steps=STEPS)
    models = {"float": student, "static": student, "aware": aware}
    return {kind: bundle(models[kind], folder / f"{kind}.acc", shown, int8=kind != "float") for kind in KINDS}


def bundle(model: nn.Module, path: Path, shown: Frames, *, int8: bool) -> Path:
    """Convert a model for ONNX Runtime; in 8 bits all of its layers but the head are, whatever that costs."""
    path.parent.mkdir(exist_ok=True)
    convert(
        model,
        shown[:_CALIBRATION],
        out=path,
        runtimes=("onnx",),
        taps="last",
        quantize=int8,
        float_convolutions=0 if int8 else "auto",
        mean=MEAN,
        std=STD,
    )
    return path


def _rows(folder: Path, seeds: int) -> list[Row]:
    large, students = trained_teacher(), [trained_student(seed) for seed in range(seeds)]
    frames, _ = images("train")
    shown = frames[np.random.default_rng(0).permutation(len(frames))[: 128 * STEPS]]
    whole = bundle(large, folder / "teacher.acc", shown, int8=False)
    small = [bundles(one, folder / str(seed), shown) for seed, one in enumerate(students)]
    frames, y = images("test")
    known = right(whole, frames, y)
    # (students, images) each.
    hits = {kind: np.stack([right(one[kind], frames, y) for one in small]) for kind in KINDS}
    taken = dict(zip(("teacher", *KINDS), costs([whole, *small[0].values()], frames[:1]), strict=True))
    wrong = 100 - known.mean()
    parameters = [sum(parameter.numel() for parameter in model.parameters()) / 1e3 for model in (students[0], large)]
    rows = [
        Row("teacher: wrong answers", wrong, "%", 0.0, "teacher", f"{100 - wrong:.2f} % right"),
        Row("student: parameters", parameters[0], "k", parameters[1], "parameters", "of the teacher's"),
        Row("student: bundle", _size(small[0]["float"]), "kB", _size(whole), "size"),
        Row("student: one sample", 1e3 * taken["float"].wall, "ms", 1e3 * taken["teacher"].wall, "speed"),
        Row("student: processor time", 1e3 * taken["float"].cpu, "ms", 1e3 * taken["teacher"].cpu, "speed"),
        *_lost("student", hits["float"], known[None], "student"),
    ]
    for kind, goal in (("static", ""), ("aware", "int8")):
        name = _WORDS[kind]
        rows += [
            *_lost(name, hits[kind], hits["float"], goal),
            Row(f"{name}: bundle", _size(small[0][kind]), "kB", _size(small[0]["float"])),
            Row(f"{name}: one sample", 1e3 * taken[kind].wall, "ms", 1e3 * taken["float"].wall),
            Row(f"{name}: processor time", 1e3 * taken[kind].cpu, "ms", 1e3 * taken["float"].cpu),
        ]
    return rows


def _lost(name: str, hits: NDArray[np.float64], others: NDArray[np.float64], goal: str) -> list[Row]:
    """Return the accuracy of some bundles, and how much they are below others at the end of the interval.

    Args:
        name: What they are.
        hits: ``(students, images)`` 100 where right, 0 where not.
        others: The same of what they are compared with, ``(students or 1, images)``.
        goal: Name of the goal.
    """
    difference = paired((hits - others).mean(axis=0))
    each = ", ".join(f"{value:.2f}" for value in hits.mean(axis=1))
    return [
        Row(f"{name}: accuracy", hits.mean(), "%", others.mean(), note=f"by seed {each}"),
        Row(f"{name}: points lost at most (95 %)", -difference.low, "%", 0.0, goal, f"paired {difference}"),
    ]


def _size(path: Path) -> float:
    return path.stat().st_size / 1e3


if __name__ == "__main__":
    main()
