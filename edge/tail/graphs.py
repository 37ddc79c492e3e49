"""Load the two models of a tail, which are as untrusted as the bundle that they come from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, MissingExtraError
from ...manifest import Runtime

Float32 = NDArray[np.float32]
_ADVICE = "Convert the model again."


class Graph(Protocol):
    """A loaded model from named float32 tensors to named float32 tensors."""

    def run(self, given: Mapping[str, Float32], output: str) -> Float32:
        """Run it once. May be called from several threads.

        Args:
            given: Every input by name.
            output: Name of the output that is wanted.

        Returns:
            The output, as an array of its own.

        Raises:
            BackendError: If it fails.
        """

    def bind(self, given: Mapping[str, Float32], found: Mapping[str, Float32]) -> Callable[[], None]:
        """Return what runs it again and again on the same arrays. Not for several threads.

        Args:
            given: Every input by name; what is in these arrays is read at each run.
            found: Every output by name; each run writes into these arrays.

        Returns:
            A function that runs it, and raises BackendError if that fails.

        Raises:
            BackendError: If it does not take or give arrays of these shapes.
        """


def load_graph(
    content: bytes, runtime: Runtime, inputs: Mapping[str, int], outputs: Sequence[str], threads: int, what: str
) -> Graph:
    """Load a model, and check the names and types of what it takes and gives.

    Args:
        content: The ONNX or TFLite file.
        runtime: Which of the two it is.
        inputs: Number of axes of each of its inputs, by name, all float32.
        outputs: Names of its outputs, all float32.
        threads: Threads of one call.
        what: What it is, for messages.

    Returns:
        The loaded model.

    Raises:
        BackendError: If it does not load, reaches outside of itself, or is another model.
        MissingExtraError: If the runtime is not installed.
    """
    if runtime == "onnx":
        from .onnx_graph import OnnxGraph

        return OnnxGraph(content, list(inputs), outputs, threads, what)
    from ..runtime.runtime import installed
    from .litert_graph import LiteRTGraph

    module = installed(runtime)
    if module is None:
        raise MissingExtraError(
            f"running a {what} in this format needs 'ai_edge_litert', which is not installed. "
            f"Install it with: pip install 'acclimate[tflite]'"
        )
    return LiteRTGraph(content, inputs, outputs, threads, what, module)


def check_tensors(kind: str, wanted: Sequence[str], found: Sequence[tuple[str, bool]], what: str) -> None:
    """Check the names and types of a model's tensors.

    Args:
        kind: ``"inputs"`` or ``"outputs"``.
        wanted: Names that its spec gives.
        found: Its names, and whether each is float32.
        what: What it is, for messages.

    Raises:
        BackendError: If they are others.
    """
    names = [name for name, _ in found]
    odd = sorted(set(names) ^ set(wanted)) + sorted({name for name in names if names.count(name) > 1})
    odd += [name for name, fits in found if not fits]
    if odd:
        raise BackendError(
            f"expected a {what} with the float32 {kind} that its spec names, found others, or none: {odd[:5]}. "
            f"{_ADVICE}"
        )


def run_failed(what: str, error: Exception) -> BackendError:
    """Return the error for a model that loaded and cannot run."""
    return BackendError(f"the {what} failed: {str(error)[:300]} {_ADVICE}")


def not_finite(what: str) -> BackendError:
    """Return the error for a model that gives NaN or infinity."""
    return BackendError(f"expected finite numbers, found that the {what} gives NaN or infinity. {_ADVICE}")
