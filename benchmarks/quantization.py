"""What 8 bits cost and gain: a fresh head on int8 latents against float ones, size, speed of one thread.

EfficientNet-Lite0 on photos of solar cells (ELPV) and on clothes (Fashion-MNIST); a small convolutional network,
trained here on other people, on windows of a smartwatch (seglearn). Each backbone is converted as `convert` does
by default, except that 8 bits are insisted on. A draw is of 200 samples to fit on, equally many of each class; all
others are tested on. It is the same for both kinds, and their difference is what counts: so draws are many.

Data: see `benchmarks/places.py`.  `python -m benchmarks.quantization --json FILE`
"""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from examples import elpv
from examples.efficientnet_lite0 import pretrained
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from acclimate import Bundle
from acclimate.converters import ConversionReport, convert
from acclimate.edge.adaptation.selection import cross_validate, fit
from acclimate.edge.adaptation.trial import balanced_accuracy
from acclimate.edge.heads import AUTO, Problem
from acclimate.edge.runtime.runtime import Embedder, load_backbone
from acclimate.manifest import RUNTIMES, Runtime
from acclimate.server.splits import draw_budgets

from .harness import Cost, Row, alternate, finish
from .lite0 import SIZE
from .paired import paired
from .places import _fashion, _watch

# Of solar cells all that there are: of four quarters of them, one lost .7 points and another gained .2.
CLOTHES, CALIBRATION, SEEDS, FITTED = 600, 64, 40, 200
LENGTH = 100
# Times one sample is embedded by each kind in turn.
REPEATS, TIMES = 40, 10
Frames = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Collection:
    """Samples, and the network that embeds them.

    Args:
        name: What they are.
        network: The network.
        options: How `convert` takes its input.
        x: ``(n, ...)`` raw samples that the network has not seen.
        y: ``(n,)`` classes.
        shown: Samples to calibrate with, none of them in `x`.
    """

    name: str
    network: nn.Module
    options: dict[str, object]
    x: Frames
    y: NDArray[np.int64]
    shown: Frames


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = []
    for make in (cells, clothes, exercises):
        collection = make()
        rows += [row for runtime in RUNTIMES for row in _rows(collection, runtime)]
    finish("quantization", rows, ["torch", "onnxruntime", "onnx", "ai-edge-litert"])


def cells() -> Collection:
    """Photos of solar cells, functional or defective."""
    photos = elpv.load()
    chosen = np.random.default_rng(0).permutation(len(photos.frames))
    return _photos("solar cells", [photos.frames[i] for i in chosen], photos.defective[chosen].astype(np.int64))


def clothes() -> Collection:
    """Clothes of ten kinds."""
    photos, y = _fashion("t10k", (CLOTHES + CALIBRATION) // 10)
    order = np.random.default_rng(0).permutation(len(y))
    return _photos("clothes", [photos[i] for i in order], y[order])


def exercises() -> Collection:
    """Windows of 2 s of a smartwatch: half of the people train the network, the others' are embedded."""
    series, labels, people = _watch()
    known = np.isin(people, np.unique(people)[::2])
    windows = [one[: len(one) // LENGTH * LENGTH].reshape(-1, LENGTH, 6).transpose(0, 2, 1) for one in series]
    x = [np.concatenate([w for w, k in zip(windows, known, strict=True) if k == of]) for of in (True, False)]
    y = [
        np.concatenate([np.full(len(w), c) for w, c, k in zip(windows, labels, known, strict=True) if k == of])
        for of in (True, False)
    ]
    train, fresh = (one.astype(np.float32) for one in x)
    mean, std = train.mean(axis=(0, 2))[:, None], train.std(axis=(0, 2))[:, None]
    network = _trained((train - mean) / std, y[0])
    options = {"mean": mean, "std": std, "axes": ("channel", "time")}
    shown = train[:: max(len(train) // CALIBRATION, 1)][:CALIBRATION]
    return Collection("exercises", network, options, fresh, y[1], shown)


def _photos(name: str, photos: list[NDArray[np.uint8]], y: NDArray[np.int64]) -> Collection:
    resized = [np.asarray(Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for one in photos]
    x = np.stack([np.repeat(one[..., None], 3, axis=2) for one in resized])
    options: dict[str, object] = {"mean": 127 / 255, "std": 128 / 255}
    return Collection(name, pretrained(), options, x[CALIBRATION:], y[CALIBRATION:], x[:CALIBRATION])


def _trained(x: NDArray[np.float32], y: NDArray[np.int64]) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((6, 64), (64, 128), (128, 192)):
        layers += [nn.Conv1d(inputs, outputs, 5, 2, 2), nn.BatchNorm1d(outputs), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(192, int(y.max()) + 1))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    inputs_, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(8):
        for rows in torch.split(torch.randperm(len(x)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(inputs_[rows]), labels[rows]))
            optimizer.step()
    return network.eval()


def _rows(collection: Collection, runtime: Runtime) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        latents, report, paths = [], None, []
        for quantize in (False, True):
            path = Path(folder, f"{quantize}.acc")
            report = convert(
                collection.network,
                collection.shown,
                out=path,
                head=None,
                runtimes=(runtime,),
                quantize=quantize,
                **collection.options,  # type: ignore[arg-type]  # mean, std and axes
            )
            latents.append(_embed(path, runtime, collection.x))
            paths.append(path)
        speed = _speed(paths, runtime, collection.x[:1])
    assert isinstance(report, ConversionReport)  # noqa: S101  the loop ran
    before, after = (_accuracies(found, collection.y) for found in latents)
    difference = paired(after - before)
    name, variant = f"{collection.name}, {runtime}", report.variants[0]
    kinds = {one.kind: one for one in variant.measured}
    layers = f"{len(variant.float_layers)} layers in float; cosine {variant.parity.whole.cosine:.4f}"
    return [
        Row(f"{name}: accuracy of a fresh head on int8 latents", after.mean(), "%", before.mean(), note=layers),
        Row(f"{name}: points lost at most (95 %)", -difference.low, "%", 0.0, "accuracy", f"paired {difference}"),
        Row(f"{name}: size", kinds["int8"].size / 1e6, "MB", kinds["float"].size / 1e6, "size"),
        Row(
            f"{name}: one sample, one thread", 1e3 * speed[1].wall, "ms", 1e3 * speed[0].wall, "speed", "1.8 x as fast"
        ),
        Row(f"{name}: processor time", 1e3 * speed[1].cpu, "ms", 1e3 * speed[0].cpu),
    ]


def _load(path: Path, runtime: Runtime) -> Embedder:
    with Bundle(path) as opened:
        return load_backbone(opened.backbone(runtime), runtime, opened.manifest.input, opened.manifest.width, threads=1)


def _embed(path: Path, runtime: Runtime, x: Frames) -> NDArray[np.float32]:
    backbone = _load(path, runtime)
    return np.concatenate([backbone.embed(x[i : i + 8]) for i in range(0, len(x), 8)])


def _speed(paths: list[Path], runtime: Runtime, sample: Frames) -> list[Cost]:
    """Return what one sample costs each of some bundles, measured in turn."""
    loaded = {str(path): _load(path, runtime) for path in paths}

    def several(path: str) -> None:
        for _ in range(TIMES):
            loaded[path].embed(sample)

    costs = alternate({path: partial(several, path) for path in loaded}, REPEATS)
    return [Cost(costs[path].wall / TIMES, costs[path].cpu / TIMES) for path in loaded]


def _accuracies(latents: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the balanced accuracy in points on the samples that a head was not fitted on, one for each draw."""
    found = []
    for seed in range(SEEDS):
        of_each = FITTED // len(np.unique(y))
        split = draw_budgets(y, (of_each,), seed=seed)
        rows = np.sort(split.budgets[of_each])
        x = latents.astype(np.float64)
        centre, spread = x[rows].mean(axis=0), x[rows].std(axis=0)
        x = (x - centre) / np.maximum(spread, 1e-3 * spread.mean())
        _, sizes, axes = np.linalg.svd(x[rows], full_matrices=False)
        x = x @ axes[sizes > 1e-7 * sizes[0]].T
        problem = Problem(x[rows], y[rows], int(y.max()) + 1)
        weights = fit(problem, cross_validate(problem, AUTO).best, AUTO)
        found.append(100 * balanced_accuracy(y[split.test], weights.logits(x[split.test]).argmax(axis=1)))
    return np.array(found)


if __name__ == "__main__":
    main()
