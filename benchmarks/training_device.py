"""A device that trains a compiled tail with numpy and ONNX Runtime alone.

`python -m benchmarks.training_device peak FOLDER THREADS STEPS` trains what `benchmarks.training_step` put into the
folder and prints its peak memory in MB, `... turns FOLDER THREADS` trains as asked and without momentum.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .training_turns import serve

Float32 = NDArray[np.float32]


class Trainer:
    """Runs a compiled step: two sets of tensors, and two bindings that read the one and write the other.

    Args:
        model: The step.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        values: The first value of each input.
        threads: Threads of one step.
    """

    def __init__(
        self, model: bytes | str, inputs: list[str], outputs: list[str], values: dict[str, Float32], threads: int
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A plan for all buffers at once takes half as much memory again, and saves three percent of the time.
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        # On a processor these share the arrays' memory, as in `acclimate.edge.tail`.
        self._given = {name: value(values[name]) for name in inputs}
        moved = {name: name.removeprefix("new_") for name in outputs if name.startswith("new_")}
        other = {old: value(values[old].copy()) for old in moved.values()}
        self._loss = np.zeros((), np.float32)
        sets = ({**self._given}, {**self._given, **other})
        self._bindings = []
        for reads, writes in (sets, sets[::-1]):
            binding = self._session.io_binding()
            for name in inputs:
                binding.bind_ortvalue_input(name, reads[name])
            for name, old in moved.items():
                binding.bind_ortvalue_output(name, writes[old])
            binding.bind_ortvalue_output("loss", value(self._loss))
            self._bindings.append(binding)

    def step(self, batch: dict[str, Float32]) -> float:
        """Make one step on a batch, and return its loss."""
        for name, rows in batch.items():
            self._given[name].update_inplace(rows)
        self._session.run_with_iobinding(self._bindings[0])
        self._bindings.reverse()
        return float(self._loss)


def load(folder: Path, threads: int, **changed: float) -> tuple[Trainer, dict[str, Float32]]:
    """Load a step and a batch.

    Args:
        folder: What `benchmarks.training_step` wrote.
        threads: Threads of one step.
        **changed: Values of the step's numbers, such as its momentum, in place of the folder's.
    """
    names = json.loads((folder / "names.json").read_text())
    values = {path.stem.replace("|", "/"): np.load(path) for path in folder.glob("*.npy")}
    values |= {name: np.array(value, np.float32) for name, value in changed.items()}
    trainer = Trainer(str(folder / "step.onnx"), names["inputs"], names["outputs"], values, threads)
    return trainer, {name: values[name] for name in ("map", "target", "sample_weight")}


def main(what: str, folder: str, *numbers: str) -> None:
    """Do as the command line says."""
    if what == "turns":
        trainer, batch = load(Path(folder), int(numbers[0]), momentum=0.0)
        serve(lambda: trainer.step(batch))
        return
    trainer, batch = load(Path(folder), int(numbers[0]))
    for _ in range(int(numbers[1])):
        trainer.step(batch)
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
