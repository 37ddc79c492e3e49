"""Backbones in ONNX Runtime."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..errors import BackendError
from ..manifest import InputSpec
from .onnx_scan import refuse_external_data

Float32 = NDArray[np.float32]
_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class OnnxEmbedder:
    """A backbone loaded into ONNX Runtime.

    Args:
        content: The ONNX file.
        spec: What one raw sample is.
        width: Number of dimensions of the latent.
        threads: Threads of one call.

    Raises:
        BackendError: If it does not load, or is not what the manifest says.
    """

    def __init__(self, content: bytes, spec: InputSpec, width: int, threads: int) -> None:
        refuse_external_data(content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        # ONNX Runtime's exceptions share no base class below Exception.
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the backbone: {str(error)[:300]} "
                f"Install a newer onnxruntime, or convert the model again."
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        fits = len(inputs) == len(outputs) == 1 and inputs[0].type == _TYPES[spec.dtype]
        fits = fits and list(inputs[0].shape[1:]) == list(spec.shape) and outputs[0].type == "tensor(float)"
        if not fits or list(outputs[0].shape[1:]) != [width]:
            found = [(i.type, i.shape) for i in inputs] + [(o.type, o.shape) for o in outputs]
            raise BackendError(
                f"expected a backbone from (n, {', '.join(map(str, spec.shape))}) {spec.dtype} to (n, {width}) "
                f"float32, found {found}. Convert the model again."
            )
        self._input, self._output = inputs[0].name, outputs[0].name

    @property
    def description(self) -> str:
        """Name and version of the runtime."""
        return f"onnxruntime {onnxruntime.__version__}"

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32``."""
        try:
            (latents,) = self._session.run([self._output], {self._input: frames})
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on {frames.shape} {frames.dtype}: {str(error)[:300]}") from error
        result: Float32 = latents
        return result
