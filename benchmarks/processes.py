"""Several processes against one, and runs that are killed: the same losses, the same weights, and what it costs.

Two processes (gloo, one thread each) train the small networks of the tests at the same global batch as one does: DDP in
float64 and float32, and FSDP, whose parameters must be in shards. Twenty runs are killed without warning at drawn steps
and resumed. Then a network of 0.8 million parameters is trained in one process and in two with the same global batch,
with gradients exchanged and without, which parts a step; exchanges of several sizes give latency and bandwidth, and the
cost model (`acclimate.server.scaling`) tells from these what a step of two processes should take.

Where two processes share their cores with others, read the first three; times are then those of waiting for a core.

`python -m benchmarks.processes --json FILE`
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tests.server import many_processes

from acclimate.server.scaling import Workload, exchange_time, fit_link, step_time
from acclimate.server.training.state import State, save_state

from .harness import Row, finish
from .process_steps import BATCH

KILLED, SEED, ROUNDS = 20, 0, 2
# The run in one process that two are compared with.
_ALONE = {"ddp": "ddp", "ddp-32": "ddp-32", "fsdp": "ema"}
_CHECKPOINT_BYTES = 64 << 20


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*_curves(folder / "curves"), _kills(folder / "kills"), *_times(folder / "times")]
        rows.append(_checkpoint(folder / "checkpoint"))
    finish("processes", rows, ["torch", "accelerate"])


def _curves(folder: Path) -> list[Row]:
    """Compare the losses of two processes with those of one, step by step."""
    _torchrun(2, "tests.server.many_processes", folder, *_ALONE)
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in _ALONE}
    sharded = found["fsdp"]
    if set(sharded["kinds"]) != {"DTensor"} or not all(0.4 < share < 0.6 for share in sharded["held"]):
        raise RuntimeError(f"expected parameters in shards, found {set(sharded['kinds'])}, {sharded['held']}")
    rows = []
    for name, alone in _ALONE.items():
        many_processes.go(folder / "alone", alone)
        wanted = many_processes.losses(folder / "alone", alone)
        worst = max(abs(a - b) / abs(b) for a, b in zip(found[name]["losses"], wanted, strict=True))
        kind = {"ddp": "DDP, float64", "ddp-32": "DDP, float32", "fsdp": "FSDP, float64"}[name]
        note = f"{len(wanted)} steps, {found[name]['processes']} processes against one"
        if name == "fsdp":
            note += f"; each holds {sharded['held'][0]:.0%} of the parameters"
        goal = "" if name == "ddp-32" else "losses"
        rows.append(Row(f"{kind}: largest relative difference of a loss", worst, "", 0.0, goal, note))
    return rows


def _kills(folder: Path) -> Row:
    """Kill runs at drawn steps, resume each, and count those that do not end in the weights of one that was not."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.server.killed_runs", str(folder), str(SEED), str(KILLED), "apart"]
    subprocess.run(command, check=True, env=_environment(), stdout=subprocess.DEVNULL)
    found = json.loads((folder / "found.json").read_text())
    if any(ended != [-9, 0] for ended in found["ended"]):
        raise RuntimeError(f"expected runs killed once and then ended, found {found['ended']}")
    whole, *others = found["hashes"]
    equal = sum(other == whole for other in others)
    note = f"{equal} of {KILLED} equal, bit for bit; killed at steps {', '.join(map(str, sorted(found['steps'])))}"
    return Row("killed and resumed runs with other weights", float(KILLED - equal), "runs", 0.0, "killed", note)


def _times(folder: Path) -> list[Row]:
    """Part a step of one process and of two, and compare the cost model with what was measured."""
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    # In turn, so that a noisy machine is noisy for both.
    for round_ in range(ROUNDS):
        for processes, reports in found.items():
            out = folder / f"{processes}-{round_}"
            _torchrun(processes, "benchmarks.process_steps", out)
            reports.append(json.loads((out / "steps.json").read_text()))
    steps = {n: {part: _merged(reports, part) for part in ("exchanged", "alone")} for n, reports in found.items()}
    one, two, without = steps[1]["exchanged"], steps[2]["exchanged"], steps[2]["alone"]
    exchanges = [pair for report in found[2] for pair in report["exchanges"]]
    link = fit_link([size for size, _ in exchanges], [seconds for _, seconds in exchanges], 2)
    read = two["wait"] * two["step"]
    # What a process does with its half of the batch, whether it computes or waits for samples.
    work = Workload(sample_seconds=without["step"] / (BATCH / 2), gradient_bytes=two["bytes"])
    model = step_time(work, batch_size=BATCH, processes=2, link=link)
    sent = 2 * (2 - 1) / 2 * two["bytes"]
    off = 100 * abs(model.total / two["step"] - 1)
    return [
        Row("samples a second, two processes against one", BATCH / two["step"], "/s", BATCH / one["step"]),
        Row("a step of one process", 1e3 * one["step"], "ms", note=f"waiting for samples {one['wait']:.1%}"),
        Row("a step of two, the same global batch", 1e3 * two["step"], "ms", 1e3 * one["step"]),
        Row("of it computing", 1e3 * (without["step"] - without["wait"] * without["step"]), "ms"),
        Row("of it waiting for samples", 1e3 * read, "ms"),
        Row("of it exchanging gradients", 1e3 * (two["step"] - without["step"]), "ms", note="with, less without"),
        Row("gradients of a step", two["bytes"] / 1e6, "MB", note=f"each process sends {sent / 1e6:.3g} MB"),
        Row("bandwidth of an exchange", link.bandwidth / 1e6, "MB/s", note="all-reduces of 1 KB to 8 MB"),
        Row("latency of a message", 1e6 * link.latency, "µs"),
        Row("exchange by itself, by the model", 1e3 * exchange_time(two["bytes"], 2, link), "ms"),
        Row("a step of two by the cost model", 1e3 * model.total, "ms", 1e3 * two["step"], note=f"off by {off:.1f} %"),
    ]


def _merged(reports: list[dict[str, Any]], part: str) -> dict[str, float]:
    """Return the medians over all turns of all rounds."""
    turns = [turn for report in reports for turn in report[part]]
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def _checkpoint(folder: Path) -> Row:
    """Return how fast a checkpoint is written and brought to the disk."""
    folder.mkdir()
    tensor = torch.zeros(_CHECKPOINT_BYTES // 4)
    seconds = []
    for step in range(4):
        begun = time.perf_counter()
        save_state(folder, State(step, {"module": {"weight": tensor}}, {}), keep=1)
        seconds.append(time.perf_counter() - begun)
    return Row("writing a checkpoint", _CHECKPOINT_BYTES / 1e6 / statistics.median(seconds), "MB/s", note="64 MiB")


def _torchrun(processes: int, module: str, folder: Path, *arguments: str) -> None:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*command, "-m", module, str(folder), *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr}")


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
