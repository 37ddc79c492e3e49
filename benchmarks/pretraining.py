"""What the pretraining loop costs over a bare PyTorch loop, and how long it waits for samples.

Both train the same network on the same images of 28 x 28, read by the same data set, with AdamW, label smoothing,
clipped gradients and a learning rate per step, and look at the loss after every step. What is measured begins after the
first step and ends with the last of an epoch; validation and checkpoints come after that. Waiting is counted from the
epoch's beginning, with the start of what reads.

Overhead: a small network and random images, as they are. Waiting: that, and Fashion-MNIST (see `benchmarks/places.py`
for how to unpack it) cropped and flipped, with the network of `benchmarks/shift.py`, once read by a process of its own
and once by a thread of the training one.

`python -m benchmarks.pretraining --json FILE`
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, load_data
from acclimate.server.pretrain import pretrain
from acclimate.server.training.schedule import OneCycle
from acclimate.server.training.settings import RunSettings, TrainingSettings

from .harness import Row, finish
from .places import _fashion
from .shift import network

STEPS, BATCH, TURNS = 40, 128, 11
CLOTHES_STEPS, CLOTHES_TURNS = 200, 3
Pair = tuple[float, float]


class _Watch:
    """Notes wall and processor time after the first step and after the last."""

    def __init__(self) -> None:
        self.marks: list[Pair] = []

    def __call__(self, done: int, total: int) -> None:
        if done in (1, total):
            used = resource.getrusage(resource.RUSAGE_SELF)
            self.marks.append((time.perf_counter(), used.ru_utime + used.ru_stime))

    def cost(self) -> Pair:
        (begun, used), (ended, then) = self.marks
        return ended - begun, then - used


@dataclass(frozen=True, eq=False)
class _Job:
    """What both loops train.

    Args:
        settings: Of an epoch.
        data: Their samples.
        steps: Of an epoch.
        net: Makes the network, each time with the same weights.
        folder: Where runs go.
    """

    settings: PretrainConfig
    data: Data
    steps: int
    net: Callable[[], nn.Module]
    folder: Path

    def ours(self, watch: _Watch) -> float:
        """Train, and return the share of time spent waiting for samples."""
        out = Path(tempfile.mkdtemp(dir=self.folder))
        run = pretrain(self.settings, out=out / "run", device="cpu", data=self.data, model=self.net(), progress=watch)
        assert run.speed is not None  # noqa: S101
        return run.speed.input_wait

    def bare(self, watch: _Watch) -> None:
        training, net = self.settings.training, self.net().train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, OneCycle(self.steps))
        loss_of = nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
        losses = []
        loader = DataLoader(
            self.data.train.dataset, BATCH, shuffle=True, drop_last=True, num_workers=self.settings.run.workers
        )
        for step, (x, y, _) in enumerate(loader):
            loss = loss_of(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), training.gradient_norm)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            watch(step + 1, self.steps)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draws = np.random.default_rng(0)
        count = STEPS * BATCH
        random = _job(folder, draws.integers(0, 256, (count, 28, 28, 1), np.uint8), np.arange(count) % 10, _net)
        rows = _rows("", STEPS, *_measured(random, TURNS))
        try:
            photos, y = _fashion("train", CLOTHES_STEPS * BATCH // 10)
        except FileNotFoundError as error:
            print(f"left out Fashion-MNIST: {error}")
        else:
            mixed = draws.permutation(len(y))
            clothes = _job(folder, np.stack(photos)[mixed, :, :, None], y[mixed], network, augment=("crop", "flip"))
            for workers, name in ((1, "Fashion-MNIST, a process reads: "), (0, "Fashion-MNIST, a thread reads: ")):
                run = replace(clothes.settings.run, workers=workers)
                job = replace(clothes, settings=replace(clothes.settings, run=run))
                rows += _rows(name, CLOTHES_STEPS, *_measured(job, CLOTHES_TURNS))
    finish("pretraining", rows, ["torch"])


def _measured(job: _Job, turns: int) -> tuple[list[tuple[Pair, Pair]], list[float]]:
    """Return wall and processor time of an epoch of ours and of the bare one, by turn; and how long ours waited."""
    costs, waits = [], []
    for turn in range(turns + 1):
        own, against = _Watch(), _Watch()
        # Whichever is first has the colder caches; each is in half of the turns.
        if turn % 2:
            job.bare(against)
        wait = job.ours(own)
        if not turn % 2:
            job.bare(against)
        if turn:
            costs.append((own.cost(), against.cost()))
            waits.append(wait)
    return [((own[0], bare[0]), (own[1], bare[1])) for own, bare in costs], waits


def _rows(name: str, steps: int, costs: list[tuple[Pair, Pair]], waits: list[float]) -> list[Row]:
    rows = []
    for at, metric in enumerate(("wall time", "processor time")):
        # The turn whose ratio is the median: both figures are of the same moment.
        pairs = sorted((pair[at] for pair in costs), key=lambda pair: pair[0] / pair[1])
        own, against = pairs[len(pairs) // 2]
        ratios = [a / b for a, b in pairs]
        note = f"ratio by turn {ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} turns"
        goal = "overhead" if metric == "wall time" and not name else ""
        to_ms = 1e3 / (steps - 1)
        rows.append(Row(f"{name}{metric} a step", own * to_ms, "ms", against * to_ms, goal, note))
    note = f"{100 * min(waits):.2f} to {100 * max(waits):.2f}"
    goal = "input_wait" if name else ""
    return [*rows, Row(f"{name}input wait", 100 * statistics.median(waits), "%", 0.0, goal, note)]


def _job(
    folder: Path,
    x: NDArray[Any],
    y: NDArray[Any],
    net: Callable[[], nn.Module],
    augment: tuple[str, ...] = (),
) -> _Job:
    path = Path(tempfile.mkdtemp(dir=folder)) / "images.npz"
    np.savez(path, x=x, y=y)
    settings = PretrainConfig(
        ModelSettings(name="benchmarks.pretraining:_net"),
        DataSettings(train=str(path)),
        TrainingSettings(epochs=1, batch_size=BATCH),
        run=RunSettings(tensorboard=True, report=False),
    )
    read = DataSettings(train=str(path), validation_share=0.0, augment=augment)
    return _Job(settings, load_data(read, seed=0), len(x) // BATCH, net, folder)


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
        nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip


if __name__ == "__main__":
    main()
