"""Backbones in ONNX Runtime."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...errors import BackendError
from ...manifest import InputSpec
from .onnx_scan import EXTERNAL_KEY, refuse_external_data
from .runtime import Float32, check_latents, embedding_failed

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
        # To follow every tensor takes many times as long as to load some models; to look for the word does not.
        if EXTERNAL_KEY in content:
            refuse_external_data(content)
        # Builds of the runtime that report usage to their maker do so unless told not to; a device keeps to itself.
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Else content that looks like ONNX Runtime's own format is read as that, which the scan does not know.
        options.add_session_config_entry("session.load_model_format", "ONNX")
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
        fits = fits and list(outputs[0].shape[1:]) == [width] and not isinstance(inputs[0].shape[0], int)
        if not fits:
            found = [(i.type, i.shape) for i in inputs] + [(o.type, o.shape) for o in outputs]
            raise BackendError(
                f"expected a backbone from (n, {', '.join(map(str, spec.shape))}) {spec.dtype} to (n, {width}) "
                f"float32, found {found}. Convert the model again."
            )
        self._input, self._outputs, self._width = inputs[0].name, [outputs[0].name], width
        self.description = f"onnxruntime {onnxruntime.__version__}"

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32``."""
        try:
            (latents,) = self._session.run(self._outputs, {self._input: frames})
        except Exception as error:
            raise embedding_failed(self.description, frames, error) from error
        return check_latents(latents, len(frames), self._width, self.description)
