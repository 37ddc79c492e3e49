"""A compiled training step in ONNX Runtime against PyTorch's eager step, and against ONNX Runtime's training.

Batches of 32, gradient descent with momentum, one thread and two: a linear layer, the last block of MobileNetV2 and of
ResNet-18 with their heads, all tensors training, BatchNorm folded on all sides, cross-entropy without a penalty. The
times include handing over the batch. Peak memory is that of fresh processes that only train.

`--peer PYTHON` adds onnxruntime-training-cpu, which needs an environment of its own, with Python 3.11 or older:

    python3.11 -m venv build/peer
    build/peer/bin/pip install onnxruntime-training-cpu==1.19.2 "numpy<2" "onnx<1.18"

Its gradient descent has no momentum; ours computes one of 0 beside it. The two train in turn, each in its process.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from acclimate.converters.training import compile_training

from . import training_tails
from .harness import Row, alternate, finish
from .process import run_python
from .training_device import load
from .training_turns import take_turns

TAILS = {"linear": "linear", "inverted residual": "tail", "basic block": "tail"}
REPEATS, SECONDS = 15, 0.4
STEPS = 12


def main() -> None:
    """Measure and print."""
    more = "--json FILE writes the figures to this file"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", epilog=more)
    parser.add_argument("--peer", default="", help="Python of an environment with onnxruntime-training-cpu")
    options, others = parser.parse_known_args()
    sys.argv[1:] = others
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, goal in TAILS.items():
            place = Path(folder, name.replace(" ", "_"))
            _compile(name, place)
            rows += [row for threads in (1, 2) for row in _times(name, goal, place, threads)]
            rows.append(_memory(name, place))
            rows += _against_peer(name, place, options.peer)
    finish("training_step", rows, ["onnxruntime", "torch"])


def _compile(name: str, folder: Path) -> None:
    maps, y = training_tails.batch(name)
    compiled = compile_training(training_tails.tail(name), maps, penalty="none")
    folder.mkdir()
    (folder / "step.onnx").write_bytes(compiled.step)
    names = {"inputs": compiled.spec.step_inputs, "outputs": compiled.spec.step_outputs}
    (folder / "names.json").write_text(json.dumps(names))
    values = {"map": maps.numpy(), "target": np.eye(training_tails.CLASSES, dtype=np.float32)[y.numpy()]}
    values["sample_weight"] = np.ones(len(maps), np.float32)
    values |= {"learning_rate": np.array(0.001, np.float32), "momentum": np.array(0.9, np.float32)}
    for parameter, value in compiled.initial.items():
        values |= {f"parameter/{parameter}": value, f"momentum/{parameter}": np.zeros_like(value)}
    for key, value in values.items():
        np.save(folder / f"{key.replace('/', '|')}.npy", value)


def _times(name: str, goal: str, folder: Path, threads: int) -> list[Row]:
    torch.set_num_threads(threads)
    trainer, batch = load(folder, threads)
    eager = training_tails.eager(name)
    ours, theirs = [trainer.step(batch) for _ in range(STEPS)], [eager() for _ in range(STEPS)]
    if not np.allclose(ours, theirs, rtol=1e-4):
        raise ValueError(f"{name}: losses {ours} are not PyTorch's {theirs}")
    # One after the other for a while each: what one's threads wait for, they do not take from the other.
    count = max(3, math.ceil(SECONDS / alternate({"eager": eager}, 3)["eager"].wall))

    def many(step: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(count):
                step()

        return work

    cost = alternate({"compiled": many(lambda: trainer.step(batch)), "eager": many(eager)}, REPEATS)
    compiled, pytorch = cost["compiled"], cost["eager"]
    where = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
    scale = 1e3 / count
    return [
        Row(f"{where}: a step", compiled.wall * scale, "ms", pytorch.wall * scale, goal),
        Row(f"{where}: processor time", compiled.cpu * scale, "ms", pytorch.cpu * scale),
    ]


def _memory(name: str, folder: Path) -> Row:
    device = ["-m", "benchmarks.training_device", "peak", str(folder), "1", str(STEPS)]
    pytorch = ["-m", "benchmarks.training_tails", name, "1", str(STEPS)]
    peaks = [(run_python(device), run_python(pytorch)) for _ in range(3)]
    ours, theirs = (float(np.median([pair[i] for pair in peaks])) for i in (0, 1))
    return Row(f"{name}: peak memory", ours, "MB", theirs, "memory", f"PyTorch {torch.__version__}")


def _against_peer(name: str, folder: Path, python: str) -> list[Row]:
    if not python:
        print(f"left out: {name} against onnxruntime-training-cpu, whose environment --peer PYTHON names")
        return []
    module = training_tails.tail(name)
    maps = training_tails.batch(name)[0]
    torch.onnx.export(module, (maps,), folder / "tail.onnx", opset_version=18, external_data=False, verbose=False)
    peer = [python, "-m", "benchmarks.training_peer"]
    made = subprocess.run([*peer, "make", str(folder)], capture_output=True, text=True)
    if made.returncode:
        reason = made.stderr.strip().splitlines()[-1:]
        print(f"left out: {name} against onnxruntime-training-cpu, which makes no artifacts:", *reason)
        return []
    note = f"onnxruntime-training-cpu {made.stdout.split()[-1]}"
    device = [sys.executable, "-m", "benchmarks.training_device"]
    rows = []
    for threads in (1, 2):
        asked = ["turns", str(folder), str(threads)]
        turns = take_turns({"ours": [*device, *asked], "theirs": [*peer, *asked]}, STEPS, REPEATS, SECONDS)
        ours, theirs = turns["ours"], turns["theirs"]
        if not np.allclose(ours.losses, theirs.losses, rtol=1e-4):
            raise ValueError(f"{name}: losses {ours.losses} are not the peer's {theirs.losses}")
        where = f"{name}, {threads} thread{'s' if threads > 1 else ''}, against the peer"
        rows.append(Row(f"{where}: a step", ours.wall * 1e3, "ms", theirs.wall * 1e3, "tail", note))
        rows.append(Row(f"{where}: processor time", ours.cpu * 1e3, "ms", theirs.cpu * 1e3, note=note))
    asked = ["peak", str(folder), "1", str(STEPS)]
    peaks = [(run_python([*device[1:], *asked]), _number([*peer, *asked])) for _ in range(3)]
    least, most = (float(np.median([pair[i] for pair in peaks])) for i in (0, 1))
    rows.append(Row(f"{name}, against the peer: peak memory", least, "MB", most, note=note))
    return rows


def _number(command: list[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
