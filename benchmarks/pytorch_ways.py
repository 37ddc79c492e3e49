"""One way to adapt to solar cells, in a process of its own: `python -m benchmarks.pytorch_ways WAY BUNDLE SEED`."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from examples import elpv
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Found = tuple[float, float, Flags]
BUDGET, SIZE, BATCH, EPOCHS = 200, 224, 16, 10


def main(way: str, bundle: str, seed: int) -> None:
    """Adapt, test, and print time, memory and accuracy. Reading the photos and importing are not counted."""
    cells = elpv.load()
    split = elpv.split(cells, seed)
    frames, labels = _resized(cells.frames), cells.defective
    train, test = split.arrivals[:BUDGET], split.test
    adapt = {"ours": _ours, "cached": _cached, "tutorial": _tutorial}[way]
    seconds, cpu, predicted = adapt(frames[train], labels[train], frames[test], bundle, seed)
    truth = labels[test]
    accuracy = float(np.mean([np.mean(predicted[truth == value] == value) for value in (False, True)]))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "cpu": cpu, "accuracy": accuracy, "memory": peak}))


def _ours(frames: Frames, labels: Flags, test: Frames, bundle: str, seed: int) -> Found:
    from acclimate.edge import Learner

    wall, cpu = time.perf_counter(), time.process_time()
    with Learner.open(bundle, runtime="onnx") as learner:
        learner.observe(frames, np.where(labels, "defective", "intact"), on_duplicate="skip")
        learner.adapt()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        return *spent, learner.predict(test).labels == "defective"


def _cached(frames: Frames, labels: Flags, test: Frames, bundle: str, seed: int) -> Found:
    return _torch(frames, labels, test, seed, cached=True)


def _tutorial(frames: Frames, labels: Flags, test: Frames, bundle: str, seed: int) -> Found:
    return _torch(frames, labels, test, seed, cached=False)


def _torch(frames: Frames, labels: Flags, test: Frames, seed: int, *, cached: bool) -> Found:
    import torch
    from examples.efficientnet_lite0 import pretrained
    from torch import nn

    torch.manual_seed(seed)
    wall, cpu = time.perf_counter(), time.process_time()
    net = pretrained().eval().requires_grad_(False)
    head_name, old = next((n, m) for n, m in reversed(list(net.named_modules())) if isinstance(m, nn.Linear))
    setattr(net, head_name, nn.Identity())
    head = nn.Linear(old.in_features, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    y = torch.from_numpy(labels.astype(np.int64))

    def features(x: Frames) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = net((torch.from_numpy(x).permute(0, 3, 1, 2).float() - 127) / 128)
            return found

    known = torch.cat([features(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)]) if cached else None
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(y)), BATCH):
            x = features(frames[rows.numpy()]) if known is None else known[rows]
            loss = nn.functional.cross_entropy(head(x), y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch says nothing of its types here
            optimizer.step()
    spent = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        labels_found = torch.cat([head(features(test[i : i + BATCH])).argmax(1) for i in range(0, len(test), BATCH)])
    return *spent, labels_found.numpy().astype(bool)


def _resized(frames: Frames) -> Frames:
    from PIL import Image

    small = [
        np.asarray(Image.fromarray(frame[..., 0]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for frame in frames
    ]
    return np.stack(small)[..., None].repeat(3, axis=3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
