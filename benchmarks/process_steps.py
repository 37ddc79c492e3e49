"""A program for torchrun: how long a step takes with gradients exchanged and without, and how long an exchange takes.

`torchrun -m benchmarks.process_steps FOLDER` trains the same network with the same global batch in one process or
several, one thread each, and writes FOLDER/steps.json.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate import Accelerator
from torch import distributed, nn

from acclimate.server.config.model import ModelSettings
from acclimate.server.config.read import PretrainConfig
from acclimate.server.data import Data, DataSettings, load_data
from acclimate.server.pretrain import pretrain
from acclimate.server.training.settings import RunSettings, TrainingSettings

STEPS, BATCH, TURNS = 24, 128, 3
# Bytes of the gradients whose exchange is timed: latency shows in the small ones, bandwidth in the large.
SIZES = (1 << 10, 1 << 14, 1 << 18, 1 << 21, 1 << 23)
_REPEATS = 15


def network() -> nn.Sequential:
    """Return the network: 0.8 million parameters, no layer that looks at other samples."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * 49, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


class _Exchange:
    """What processes do with gradients: exchange them, or leave that out; counts their bytes."""

    def __init__(self, real: bool) -> None:
        self.real, self.bytes = real, 0

    def hook(self, state: object, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        gradients = bucket.buffer()
        self.bytes += gradients.nbytes
        if not self.real:
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(gradients)
            return done
        gradients.div_(distributed.get_world_size())
        summed = distributed.all_reduce(gradients, async_op=True).get_future()
        return summed.then(lambda given: given.value()[0])

    def prepare(self, running: Accelerator, model: nn.Module, **options: Any) -> nn.Module:
        prepared: nn.Module = _PREPARE(running, model, **options)
        if isinstance(prepared, nn.parallel.DistributedDataParallel):
            prepared.register_comm_hook(None, self.hook)
        return prepared


_PREPARE = Accelerator.prepare_model


def _steps(data: Data, settings: PretrainConfig, exchange: _Exchange) -> dict[str, float]:
    """Return seconds of a step, the share of waiting for samples, and the bytes of gradients in a step."""
    marks: list[float] = []

    def progress(done: int, total: int) -> None:
        if done in (1, total):
            marks.append(time.perf_counter())

    def prepare(running: Accelerator, model: nn.Module, **options: Any) -> nn.Module:
        return exchange.prepare(running, model, **options)

    # The main process says where: all take part in a run, and it alone writes.
    places = [tempfile.mkdtemp() if distributed.get_rank() == 0 else ""]
    distributed.broadcast_object_list(places)
    with mock.patch.object(Accelerator, "prepare_model", prepare):
        run = pretrain(
            settings, out=Path(places[0]) / "run", device="cpu", data=data, model=network(), progress=progress
        )
    assert run.speed is not None  # noqa: S101
    return {
        "step": (marks[1] - marks[0]) / (STEPS - 1),
        "wait": run.speed.input_wait,
        "bytes": exchange.bytes / STEPS,
        "samples_per_second": run.speed.samples_per_second,
    }


def _exchanges() -> list[list[float]]:
    """Return bytes and seconds of exchanges of several sizes, medians."""
    found = []
    for size in SIZES:
        tensor = torch.ones(size // 4)
        seconds = []
        for _ in range(_REPEATS):
            distributed.barrier()
            begun = time.perf_counter()
            distributed.all_reduce(tensor)
            seconds.append(time.perf_counter() - begun)
            tensor.fill_(1)
        found.append([float(size), statistics.median(seconds)])
    return found


def main(folder: Path) -> None:
    """Measure, and let the main process write."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    draws = np.random.default_rng(0)
    x = draws.integers(0, 256, (STEPS * BATCH, 28, 28, 1), np.uint8)
    path = Path(tempfile.mkdtemp()) / "images.npz"
    np.savez(path, x=x, y=np.arange(len(x)) % 10)
    settings = PretrainConfig(
        ModelSettings(name="benchmarks.process_steps:network"),
        DataSettings(train="images.npz"),
        TrainingSettings(epochs=1, batch_size=BATCH),
        run=RunSettings(tensorboard=False, report=False),
    )
    data = load_data(DataSettings(train=str(path), validation_share=0.0), seed=0)
    found: dict[str, list[dict[str, float]]] = {"exchanged": [], "alone": []}
    for _ in range(TURNS + 1):
        for name, runs in found.items():
            runs.append(_steps(data, settings, _Exchange(name == "exchanged")))
    report = {
        "processes": distributed.get_world_size(),
        # The first turn warms up.
        **{name: runs[1:] for name, runs in found.items()},
        "exchanges": _exchanges(),
    }
    if distributed.get_rank() == 0:
        (folder / "steps.json").write_text(json.dumps(report))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
