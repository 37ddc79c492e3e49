"""A tail's model in LiteRT: a file of built-in operators, whose batch and number of classes are set by resizing."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import BackendError
from ..runtime.litert import open_model
from ..runtime.tflite_operators import NEEDED
from .graphs import Float32, check_tensors, run_failed


class LiteRTGraph:
    """A model in a LiteRT interpreter, which serves one caller at a time. See `graphs.Graph`.

    Args:
        content: The TFLite file.
        inputs: Number of axes of each of its inputs, by name.
        outputs: Names of its outputs.
        threads: Threads of one call.
        what: What it is, for messages.
        module: ``"ai_edge_litert"`` or ``"tflite_runtime"``.

    Raises:
        BackendError: If it does not load, or is another model.
    """

    def __init__(
        self, content: bytes, inputs: Mapping[str, int], outputs: Sequence[str], threads: int, what: str, module: str
    ) -> None:
        self._interpreter, taken, given = open_model(content, threads, what, module, NEEDED)
        self._what, self._lock = what, threading.Lock()
        for kind, wanted, found in (("inputs", list(inputs), taken), ("outputs", outputs, given)):
            check_tensors(kind, wanted, [(d["name"], d["dtype"] == np.float32) for d in found], what)
        # Kernels count on the number of axes that they were written for.
        odd = [d["name"] for d in taken if len(d["shape"]) != inputs[d["name"]]]
        if odd:
            raise BackendError(f"expected a {what} of other axes than found in {odd[:5]}. Convert the model again.")
        self._inputs = {d["name"]: int(d["index"]) for d in taken}
        self._fixed = {d["name"]: tuple(map(int, d["shape_signature"])) for d in taken}
        self._outputs = {d["name"]: int(d["index"]) for d in given}
        self._shapes: dict[str, tuple[int, ...]] | None = {d["name"]: tuple(map(int, d["shape"])) for d in taken}

    def run(self, given: Mapping[str, Float32], output: str) -> Float32:
        """Run it once. See `graphs.Graph.run`."""
        with self._lock:
            self._run(given)
            found: Float32 = self._interpreter.get_tensor(self._outputs[output])
        return found

    def bind(self, given: Mapping[str, Float32], found: Mapping[str, Float32]) -> Callable[[], None]:
        """Return what runs it on the same arrays, which it copies from and to. See `graphs.Graph.bind`."""
        wanted = {name: array.shape for name, array in given.items()}

        def run() -> None:
            with self._lock:
                self._run(given)
                for name, array in found.items():
                    values: Any = self._interpreter.tensor(self._outputs[name])()
                    # NumPy would repeat a smaller one.
                    if values.shape != array.shape:
                        raise self._odd(name, array.shape, values.shape)
                    np.copyto(array, values)

        with self._lock:
            self._resize(wanted)
        return run

    def _run(self, given: Mapping[str, Float32]) -> None:
        self._resize({name: array.shape for name, array in given.items()})
        try:
            for name, index in self._inputs.items():
                self._interpreter.set_tensor(index, given[name])
            self._interpreter.invoke()
        except Exception as error:
            raise run_failed(self._what, error) from error

    def _resize(self, wanted: Mapping[str, tuple[int, ...]]) -> None:
        if self._shapes == wanted:
            return
        for name, shape in wanted.items():
            fixed = self._fixed[name]
            if len(fixed) != len(shape) or any(a not in (-1, b) for a, b in zip(fixed, shape, strict=True)):
                raise self._odd(name, shape, fixed)
        # A resize that fails half-way leaves a size that nobody knows.
        self._shapes = None
        try:
            for name, shape in wanted.items():
                self._interpreter.resize_tensor_input(self._inputs[name], shape)
            self._interpreter.allocate_tensors()
        except Exception as error:
            raise run_failed(self._what, error) from error
        self._shapes = dict(wanted)

    def _odd(self, name: str, wanted: tuple[int, ...], found: tuple[int, ...]) -> BackendError:
        return BackendError(
            f"expected a {self._what} where {name!r} has the shape {wanted}, found {found}. Convert the model again."
        )
