"""EfficientNet-Lite0 for solar cells (ELPV), pruned until it takes .6 of its time, and distilled.

All 2,624 photos at 96 x 96, in two halves: networks that were trained on one answer the other, so that every photo is
answered once by a network that has not seen it. In each half the network with ImageNet weights is fine-tuned; `prune`
takes channels out, and how many is found by exporting and measuring; what is left learns the answers of the whole one
on the same photos, and so does, for as many epochs, the whole one that it is compared with. No epoch is chosen: the
last weights count.

Answers and latency are those of bundles in ONNX Runtime, float, one sample, one thread, in turn. A photo counts by its
class, so that means are of balanced accuracy; differences are paired by photo, with a 95 % interval. Modules of which
several photos are may lie in both halves, for both networks alike.

What was trained is kept in build/bench/cells, and a run that was cut off is gone on with.

Data: see `benchmarks/places.py`.  `python -m benchmarks.pruned_cells --halves N --json FILE`
"""

import argparse
import copy
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from examples import elpv
from examples.efficientnet_lite0 import MEAN, STD, pretrained
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters import convert
from acclimate.server.compress import PruneReport, prune
from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data.settings import DataSettings
from acclimate.server.splits import split_by_class
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings

from .device_model import costs, right
from .harness import Cost, Row, finish
from .lite0 import FOLDER
from .paired import paired
from .trained import folder_of, trained

SIZE, SHARE = 96, 0.6
EPOCHS, MORE_EPOCHS = 4, 8
# Measured again on another day, a model within this share of the time is within .6.
_ROOM, _TURNS = 0.97, 4
_JUDGED, _CALIBRATION = 64, 64
_MEAN, _STD = (MEAN / 255,), (STD / 255,)
Frames = NDArray[np.uint8]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the photos: to train on, or to answer.

    Args:
        name: Tells it from the other one.
        frames: ``(n, 96, 96, 3) uint8``, grey.
        y: ``(n,)``, 1 for defective cells.
    """

    name: str
    frames: Frames
    y: Int64


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the networks of one half gave on the other: the whole one, then the pruned one.

    Args:
        hits: ``(2, n)``, 100 where right, by the weight of the class, so that the mean is balanced accuracy in %.
        costs: What a sample takes.
        sizes: Of the bundles, in MB.
        ratio: Share of the channels that was to go.
    """

    hits: NDArray[np.float64]
    costs: list[Cost]
    sizes: list[float]
    ratio: float


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--halves", type=int, choices=(1, 2), default=2, help="halves to train on; both by default")
    options, others = parser.parse_known_args()
    sys.argv[1:] = others
    first, second = _halves()
    found = [_outcome(*pair) for pair in ((first, second), (second, first))[: options.halves]]
    hits = np.concatenate([one.hits for one in found], axis=1)
    difference = paired(hits[1] - hits[0])
    wall = np.mean([[1e3 * cost.wall for cost in one.costs] for one in found], axis=0)
    cpu = np.mean([[1e3 * cost.cpu for cost in one.costs] for one in found], axis=0)
    size = np.mean([one.sizes for one in found], axis=0)
    ratios = " and ".join(f"{one.ratio:.2f}" for one in found)
    rows = [
        Row("pruned: one sample, one thread", wall[1], "ms", wall[0], "speed", f"at ratios of {ratios}"),
        Row("pruned: processor time", cpu[1], "ms", cpu[0]),
        Row("pruned: bundle", size[1], "MB", size[0]),
        Row("pruned: balanced accuracy", hits[1].mean(), "%", hits[0].mean(), note=f"{hits.shape[1]} photos"),
        Row("pruned: points lost", -difference.mean, "%", 0.0, "accuracy", f"paired {difference}"),
        Row("pruned: points lost at most (95 %)", -difference.low, "%", 0.0),
    ]
    finish("pruned_cells", rows, ["torch", "torch-pruning", "onnxruntime", "onnx"])


def whole() -> nn.Module:
    """Return the network with ImageNet weights."""
    # Convolutions of processors are faster so.
    return pretrained((SIZE, SIZE)).to(memory_format=torch.channels_last)


def _halves() -> tuple[Half, Half]:
    cells = elpv.load()
    small = [Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for one in cells.frames]
    frames = np.repeat(np.stack([np.asarray(one) for one in small])[..., None], 3, axis=3)
    y = cells.defective.astype(np.int64)
    first, second = (Half(f"half{i}", frames[rows], y[rows]) for i, rows in enumerate(split_by_class(y, 0.5, seed=0)))
    return first, second


def _outcome(half: Half, other: Half) -> Outcome:
    settings = _settings(half, "benchmarks.pruned_cells:whole", EPOCHS, ObjectiveSettings())
    name = f"cells/{half.name}"
    large = trained(name, settings)
    home = folder_of(name, settings)
    ratio = _ratio(half, large, home / "ratio.json")
    learnt = ObjectiveSettings(name="distillation")
    told = _settings(half, f"{home.name} trained on", MORE_EPOCHS, learnt)
    longer = trained(f"{name}-longer", told, copy.deepcopy(large), large)
    told = _settings(half, f"{home.name} pruned by {ratio:.3f}", MORE_EPOCHS, learnt)
    small, _ = _prune(half, large, ratio)
    small = trained(f"{name}-pruned", told, small.to(memory_format=torch.channels_last), large)
    with tempfile.TemporaryDirectory() as folder:
        paths = [_bundle(one, Path(folder, f"{i}.acc"), half) for i, one in enumerate((longer, small))]
        weights = len(other.y) / (2 * np.bincount(other.y)[other.y])
        hits = np.stack([weights * right(path, other.frames, other.y) for path in paths])
        taken = costs(paths, half.frames[:1])
        return Outcome(hits, taken, [path.stat().st_size / 1e6 for path in paths], ratio)


def _settings(half: Half, name: str, epochs: int, objective: ObjectiveSettings) -> PretrainConfig:
    path = FOLDER / "cells" / f"{half.name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, x=half.frames, y=half.y)
    data = DataSettings(
        train=str(path), validation_share=0.0, mean=_MEAN, std=_STD, augment=("shift", "flip"), shift=0.05
    )
    training = TrainingSettings(epochs=epochs, batch_size=32, learning_rate=1e-3, balanced=True)
    run = RunSettings(tensorboard=False, log_every=20)
    return PretrainConfig(ModelSettings(name=name), data, training, objective, run)


def _ratio(half: Half, large: nn.Module, path: Path) -> float:
    """Return the least share of channels without which the network keeps to its time; it is measured once."""
    if path.exists():
        return float(json.loads(path.read_text()))
    low, high = 0.2, 0.7
    for _ in range(_TURNS):
        ratio = (low + high) / 2
        with tempfile.TemporaryDirectory() as folder:
            models = (large, _prune(half, large, ratio)[0])
            paths = [_bundle(one, Path(folder, f"{i}.acc"), half) for i, one in enumerate(models)]
            before, after = costs(paths, half.frames[:1])
        low, high = (low, ratio) if after.cpu <= _ROOM * SHARE * before.cpu else (ratio, high)
        print(
            f"{half.name}: {ratio:.3f} of the channels less: {after.cpu / before.cpu:.3f} of the time", file=sys.stderr
        )
    path.write_text(json.dumps(high))
    return high


def _prune(half: Half, large: nn.Module, ratio: float) -> tuple[nn.Module, PruneReport]:
    rows = np.random.default_rng(0).permutation(len(half.y))[:_JUDGED]
    x, y = _batch(half.frames[rows]), torch.from_numpy(half.y[rows])
    return prune(
        large, x[:2], ratio=ratio, importance="taylor", loss=lambda model: functional.cross_entropy(model(x), y)
    )


def _bundle(model: nn.Module, path: Path, half: Half) -> Path:
    shown = half.frames[:: len(half.frames) // _CALIBRATION]
    convert(model, shown, out=path, runtimes=("onnx",), taps="last", quantize=False, mean=_MEAN, std=_STD)
    return path


def _batch(frames: Frames) -> Tensor:
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() - MEAN) / STD


if __name__ == "__main__":
    main()
