"""What the pretraining loop costs over a bare PyTorch loop, and how long it waits for samples.

Both train the same small convolutional network on the same grey images of 28 x 28, read by the same data set, with
AdamW, label smoothing, clipped gradients and a learning rate per step, and look at the loss after every step. What is
measured begins after the first step and ends with the last of an epoch; validation and checkpoints come after that.

`python -m benchmarks.pretraining --json FILE`
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, load_data
from acclimate.server.pretrain import pretrain
from acclimate.server.training.schedule import OneCycle
from acclimate.server.training.settings import RunSettings, TrainingSettings

from .harness import Row, finish

STEPS, BATCH, TURNS = 40, 128, 11


class _Watch:
    """Notes wall and processor time after the first step and after the last."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []

    def __call__(self, done: int, total: int) -> None:
        if done in (1, total):
            used = resource.getrusage(resource.RUSAGE_SELF)
            self.marks.append((time.perf_counter(), used.ru_utime + used.ru_stime))

    def cost(self) -> tuple[float, float]:
        (begun, used), (ended, then) = self.marks
        return ended - begun, then - used


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _settings(folder)
        data = load_data(settings.data, seed=0)
        waits: list[float] = []

        def ours(turn: int, watch: _Watch) -> None:
            run = pretrain(settings, out=folder / str(turn), device="cpu", data=data, model=_net(), progress=watch)
            assert run.speed is not None  # noqa: S101
            waits.append(run.speed.input_wait)

        def bare(turn: int, watch: _Watch) -> None:
            _bare(data, settings.training, watch)

        walls, processors = [], []
        for turn in range(TURNS + 1):
            found = {}
            # Whichever is first has the colder caches; each is in half of the turns.
            for work in (ours, bare) if turn % 2 else (bare, ours):
                found[work.__name__] = _cost(work, turn)
            if turn:
                walls.append((found["ours"][0], found["bare"][0]))
                processors.append((found["ours"][1], found["bare"][1]))
    finish(
        "pretraining", [*_rows(walls, processors), Row("input wait", 100 * statistics.median(waits), "%")], ["torch"]
    )


def _cost(work: Callable[[int, _Watch], None], turn: int) -> tuple[float, float]:
    watch = _Watch()
    work(turn, watch)
    return watch.cost()


def _rows(walls: list[tuple[float, float]], processors: list[tuple[float, float]]) -> list[Row]:
    rows = []
    for metric, pairs, goal in (("wall time", walls, "overhead"), ("processor time", processors, "")):
        # The turn whose ratio is the median: both figures are of the same moment.
        own, against = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
        ratios = sorted(a / b for a, b in pairs)
        note = f"ratio by turn {ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} turns"
        rows.append(Row(f"{metric} a step", 1e3 * own / (STEPS - 1), "ms", 1e3 * against / (STEPS - 1), goal, note))
    return rows


def _settings(folder: Path) -> PretrainConfig:
    draws = np.random.default_rng(0)
    count = STEPS * BATCH
    path = folder / "images.npz"
    np.savez(path, x=draws.integers(0, 256, (count, 28, 28, 1), np.uint8), y=np.arange(count) % 10)
    return PretrainConfig(
        ModelSettings(name="benchmarks.pretraining:_net"),
        DataSettings(train=str(path), validation_share=0.0),
        TrainingSettings(epochs=1, batch_size=BATCH),
        run=RunSettings(tensorboard=True),
    )


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
        nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip


def _bare(data: Data, training: TrainingSettings, watch: _Watch) -> None:
    net = _net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, OneCycle(STEPS))
    loss_of = nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
    losses = []
    loader = DataLoader(data.train.dataset, batch_size=BATCH, shuffle=True, drop_last=True)
    for step, (x, y, _) in enumerate(loader):
        loss = loss_of(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), training.gradient_norm)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        watch(step + 1, STEPS)


if __name__ == "__main__":
    main()
