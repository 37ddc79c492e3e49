"""Runs that take a moment: a small network on samples in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, Split, Task
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run
from acclimate.server.training.settings import ObjectiveSettings, RunSettings, TrainingSettings
from acclimate.server.transfer.settings import TransferSettings

FEATURES, CLASSES = 6, 3


class InMemory(Dataset[Any]):
    """Samples in memory; `vary` changes an input, drawn by epoch and row."""

    def __init__(self, x: Tensor, y: Tensor, vary: float = 0.0, views: int = 1) -> None:
        self.x, self.y, self.vary, self.views, self.epoch = x, y, vary, views, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Any, int]:
        drawn = []
        for view in range(self.views):
            generator = torch.Generator().manual_seed(self.epoch * 10_000 + row * 10 + view)
            noise = torch.randn(self.x[row].shape, generator=generator, dtype=self.x.dtype)
            drawn.append(self.x[row] + self.vary * noise)
        y = self.y[row] if self.y.dim() == 1 else tuple(self.y[row])
        return (drawn[0] if self.views == 1 else torch.stack(drawn)), y, row

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def with_views(self, views: int) -> "InMemory":
        return InMemory(self.x, self.y, self.vary, views)

    def plain(self) -> "InMemory":
        return InMemory(self.x, self.y)


def make_net(*, seed: int = 0, plain: bool = False, outputs: int = CLASSES) -> nn.Sequential:
    """Return a network with BatchNorm and dropout, or a plain one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if plain:
            return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, outputs))
        return nn.Sequential(
            nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, outputs)
        )


def make_data(
    train: int = 96, validation: int = 45, *, vary: float = 0.0, dtype: torch.dtype = torch.float32, tasks: int = 1
) -> Data:
    """Return three clusters; with several tasks, each has its own numbering of the same classes."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(CLASSES, FEATURES, generator=generator, dtype=dtype)

    def split(count: int, vary: float = 0.0) -> Split:
        labels = torch.arange(count) % CLASSES
        x = centres[labels] * 1.2 + torch.randn(count, FEATURES, generator=generator, dtype=dtype)
        y = labels if tasks == 1 else torch.stack([(labels + task) % CLASSES for task in range(tasks)], 1)
        return Split(InMemory(x, y, vary), y.numpy().astype(np.int64), [f"row {i}" for i in range(count)], None)

    names = tuple("abc"[:CLASSES])
    return Data(
        split(train, vary),
        split(validation) if validation else None,
        names,
        (FEATURES,),
        "clusters",
        tuple(Task(f"task {i}", names) for i in range(tasks)),
    )


def make_config(
    *,
    objective: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    transfer: dict[str, Any] | None = None,
    **training: Any,
) -> PretrainConfig:
    """Return settings of a short run; keywords are those of training."""
    return PretrainConfig(
        ModelSettings(name="small_runs:make_net"),
        DataSettings(train="none.npz"),
        TrainingSettings(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.02} | training),
        ObjectiveSettings(**objective or {}),
        RunSettings(**{"log_every": 1, "tensorboard": False, "report": False} | (run or {})),
        TransferSettings(**transfer or {}),
    )


def run_small(
    out: Path,
    config: PretrainConfig | None = None,
    *,
    net: nn.Module | None = None,
    data: Data | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Train the network on the clusters."""
    return pretrain(
        config or make_config(),
        out=out,
        data=data or make_data(),
        model=net or make_net(),
        resume=resume,
        device=device,
        progress=progress,
    )


def weights(model: nn.Module) -> Tensor:
    """Return all that a model holds in one vector."""
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])
