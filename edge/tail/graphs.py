"""Load the two ONNX models of a tail, which are as untrusted as the bundle that they come from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError

if TYPE_CHECKING:
    import onnxruntime

Float32 = NDArray[np.float32]
_ADVICE = "Convert the model again."


def load_graph(
    content: bytes, inputs: Sequence[str], outputs: Sequence[str], threads: int, what: str
) -> "onnxruntime.InferenceSession":
    """Load a model, and check the names and types of what it takes and gives.

    Args:
        content: The ONNX file.
        inputs: Names of its inputs, all float32.
        outputs: Names of its outputs, all float32.
        threads: Threads of one call.
        what: What it is, for messages.

    Returns:
        The loaded model.

    Raises:
        BackendError: If it does not load, reaches outside of itself, or is another model.
    """
    from ..runtime.onnx import open_model

    session = open_model(content, threads, what)
    for kind, wanted, found in (("inputs", inputs, session.get_inputs()), ("outputs", outputs, session.get_outputs())):
        odd = sorted({entry.name for entry in found} ^ set(wanted))
        odd += [entry.name for entry in found if entry.type != "tensor(float)"]
        if odd:
            raise BackendError(
                f"expected a {what} with the float32 {kind} that its spec names, found others, or none: {odd[:5]}. "
                f"{_ADVICE}"
            )
    return session


def run_failed(what: str, error: Exception) -> BackendError:
    """Return the error for a model that loaded and cannot run."""
    return BackendError(f"the {what} failed: {str(error)[:300]} {_ADVICE}")


def not_finite(what: str) -> BackendError:
    """Return the error for a model that gives NaN or infinity."""
    return BackendError(f"expected finite numbers, found that the {what} gives NaN or infinity. {_ADVICE}")
