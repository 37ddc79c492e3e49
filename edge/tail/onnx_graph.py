"""A tail's model in ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence

from ..runtime.onnx import open_model
from .graphs import Float32, check_tensors, run_failed


class OnnxGraph:
    """A model in ONNX Runtime. See `graphs.Graph`.

    Args:
        content: The ONNX file.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        threads: Threads of one call.
        what: What it is, for messages.

    Raises:
        BackendError: If it does not load, or is another model.
    """

    def __init__(self, content: bytes, inputs: Sequence[str], outputs: Sequence[str], threads: int, what: str) -> None:
        self._session, self._what = open_model(content, threads, what), what
        for kind, wanted, found in (
            ("inputs", inputs, self._session.get_inputs()),
            ("outputs", outputs, self._session.get_outputs()),
        ):
            check_tensors(kind, wanted, [(entry.name, entry.type == "tensor(float)") for entry in found], what)

    def run(self, given: Mapping[str, Float32], output: str) -> Float32:
        """Run it once. See `graphs.Graph.run`."""
        try:
            found: Float32 = self._session.run([output], dict(given))[0]
        except Exception as error:
            raise run_failed(self._what, error) from error
        return found

    def bind(self, given: Mapping[str, Float32], found: Mapping[str, Float32]) -> Callable[[], None]:
        """Return what runs it on the same arrays, which it reads and writes in place. See `graphs.Graph.bind`."""
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        # On a CPU these share the arrays' memory.
        for name, array in given.items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
        for name, array in found.items():
            binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array))

        def run() -> None:
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:
                raise run_failed(self._what, error) from error

        return run
