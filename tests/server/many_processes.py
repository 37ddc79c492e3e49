"""A program for torchrun: the same small runs in several processes. `-m tests.server.many_processes FOLDER NAME...`.

The main process writes FOLDER/NAME.json: the loss of every step, the final weights, and what is known of sharding.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from acclimate.server import trainee
from acclimate.server.config.read import PretrainConfig
from acclimate.server.pretrain import pretrain
from acclimate.server.run import Run
from acclimate.server.training import sharding
from acclimate.server.training.logs import read_log
from acclimate.server.training.settings import ADAPTATION
from acclimate.server.training.sharding import check_sharded, shard

from . import small_runs

# 96 samples in batches of 16, six steps an epoch.
_EPOCHS = 9


def config_of(name: str) -> PretrainConfig:
    """Return the settings of a run: float64, and nothing that looks at more than one sample or draws by process."""
    training: dict[str, Any] = {"epochs": _EPOCHS, "label_smoothing": 0.1, "schedule": "cosine", "warmup": 0.1}
    objective: dict[str, Any] = {}
    run: dict[str, Any] = {}
    kind = name.partition("-")[0]
    if kind == "fsdp":
        run["sharding"] = "fsdp"
    if kind in ("fsdp", "ema"):
        training |= {"ema": 0.9, "accumulation": 2}
    if kind in ("simclr", "barlow"):
        objective = {"name": "simclr" if kind == "simclr" else "barlow-twins", "hidden": 16, "projection": 8}
    if "distil" in name:
        objective = {"name": "distillation", "hints": ("1=0",)}
    if _objective(name) in ADAPTATION:
        training["accumulation"] = 2
        objective = {"name": _objective(name), "target_batch": 20, "guard": False}
    if kind == "pcgrad":
        objective = {"name": "multi-task", "combine": "pcgrad"}
    transfer: dict[str, Any] = {}
    if "l2sp" in name:
        transfer = {"penalty": "l2-sp", "penalty_weight": 0.5, "rate_factor": 0.4, "new_layers": ("2",)}
    if "ewc" in name:
        transfer = {"penalty": "ewc", "penalty_weight": 5.0}
    if "frozen" in name:
        transfer = {"train_last": 1}
    if "lora" in name:
        transfer = {"lora_rank": 2}
    return small_runs.make_config(objective=objective, run=run, transfer=transfer, **training)


def _objective(name: str) -> str:
    return name.removeprefix("fsdp-").removeprefix("ema-")


def go(folder: Path, name: str, *, resume: bool = False) -> Run:
    """Run by name, in this process alone or together with the others."""
    tasks = 2 if name.startswith("pcgrad") else 1
    vary = 0.2 if name.startswith(("simclr", "barlow")) else 0.0
    dtype = torch.float32 if name.endswith("32") else torch.float64
    net = _nested() if name.endswith("blocks") else small_runs.make_net(plain=True, outputs=3 * tasks).to(dtype)
    data = small_runs.make_data(dtype=dtype, tasks=tasks, vary=vary)
    if _objective(name) in ADAPTATION:
        data = replace(data, target=small_runs.make_data(train=60, validation=0, dtype=dtype).train)
    teacher = small_runs.make_net(seed=3, plain=True).to(dtype) if "distil" in name else None
    return pretrain(
        config_of(name),
        out=folder / name,
        model=net,
        data=data,
        resume=resume,
        device="cpu",
        teacher=teacher,
        source_data=data if "ewc" in name else None,
    )


def _nested() -> nn.Sequential:
    """Return a network of blocks in blocks, each of which is sharded by itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        inner = [nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Sequential(nn.Linear(16, 16))) for _ in range(2)]
        return nn.Sequential(nn.Linear(6, 16), nn.Sequential(*inner), nn.Linear(16, 3)).double()


def losses(folder: Path, name: str) -> list[float]:
    """Return the loss of every step of a run."""
    return [record["loss"] for record in read_log(folder / name) if record["kind"] == "step"]


class _DiedError(Exception):
    pass


def _cut_off(folder: Path, name: str) -> None:
    """Leave a run after three epochs, as if all processes had died."""

    def progress(done: int, total: int) -> None:
        if done == 20:
            raise _DiedError

    net, data = small_runs.make_net(plain=True).double(), small_runs.make_data(dtype=torch.float64)
    with contextlib.suppress(_DiedError):
        small_runs.run_small(folder / name, config_of(name), net=net, data=data, progress=progress)
        raise AssertionError("expected the run to be cut off")


def main(folder: Path, names: list[str]) -> None:
    """Run each in turn."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for name in names:
        held: list[float] = []
        kinds: list[str] = []

        def watched(objective: nn.Module, device: torch.device) -> None:
            shard(objective, device)
            held.append(check_sharded(objective))  # noqa: B023 - called within this turn
            kinds.extend(type(p.data).__name__ for p in objective.parameters())  # noqa: B023

        blocks = 10 if name.endswith("blocks") else 100_000
        with mock.patch.object(trainee, "shard", watched), mock.patch.object(sharding, "_BLOCK_PARAMETERS", blocks):
            if name.endswith("resumed"):
                _cut_off(folder, name)
            run = go(folder, name, resume=name.endswith("resumed"))
        if torch.distributed.get_rank() == 0:
            found = {
                "losses": losses(folder, name),
                "weights": small_runs.weights(run.model).tolist(),
                "metrics": [[m.samples, m.loss, m.accuracy] for m in run.metrics],
                "held": held,
                "kinds": kinds,
                "processes": torch.distributed.get_world_size(),
            }
            (folder / f"{name}.json").write_text(json.dumps(found))
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
