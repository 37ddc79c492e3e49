"""The peer onnxruntime-training-cpu on a tail; runs in the peer's own environment.

`python -m benchmarks.training_peer make FOLDER` makes its artifacts from `tail.onnx` and prints its version,
`... peak FOLDER THREADS STEPS` trains and prints the peak memory in MB, `... turns FOLDER THREADS` trains as asked.

Its gradient descent has no momentum. Torch, which `onnxruntime.training` imports for two modules that training on a
device does not need, is left out to the peer's advantage: it would add to the memory.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime

from .training_turns import serve

for _name in ("amp", "optim"):
    sys.modules[f"onnxruntime.training.{_name}"] = ModuleType(_name)

RATE = 0.001


def make(folder: Path) -> None:
    """Make the artifacts: models of the step and of the update, and a checkpoint."""
    import onnx
    from onnxruntime.training import artifacts

    model = onnx.load(str(folder / "tail.onnx"))
    # Without dimensions are the limits of ReLU6.
    weights = model.graph.initializer
    artifacts.generate_artifacts(
        model,
        requires_grad=[tensor.name for tensor in weights if tensor.dims and tensor.data_type == onnx.TensorProto.FLOAT],
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(folder),
    )
    print(onnxruntime.__version__)


def trainer(folder: Path, threads: int) -> Callable[[], float]:
    """Return a step on the folder's batch, which gives its loss."""
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = Module(str(folder / "training_model.onnx"), state, session_options=options)
    module.train()
    optimiser = Optimizer(str(folder / "optimizer_model.onnx"), module)
    optimiser.set_learning_rate(RATE)
    maps, y = np.load(folder / "map.npy"), np.load(folder / "target.npy").argmax(1)

    def step() -> float:
        loss = module(maps, y)
        optimiser.step()
        module.lazy_reset_grad()
        return float(loss)

    return step


def main(what: str, folder: str, *numbers: str) -> None:
    """Do as the command line says."""
    if what == "make":
        make(Path(folder))
        return
    step = trainer(Path(folder), int(numbers[0]))
    if what == "turns":
        serve(step)
        return
    for _ in range(int(numbers[1])):
        step()
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
