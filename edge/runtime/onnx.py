"""Models in ONNX Runtime: backbones, and the tails behind them."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...errors import BackendError
from ...manifest import InputSpec
from .onnx_scan import EXTERNAL_KEY, refuse_external_data
from .runtime import Float32, check_latents, check_maps, embedding_failed, no_maps

_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "int32": "tensor(int32)"}


def open_model(content: bytes, threads: int, what: str) -> onnxruntime.InferenceSession:
    """Load an untrusted ONNX file.

    Args:
        content: The file.
        threads: Threads of one call.
        what: What it is, for messages.

    Returns:
        The loaded model.

    Raises:
        BackendError: If it points outside of itself, or does not load.
    """
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
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions share no base class below Exception.
    except Exception as error:
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the {what}: {str(error)[:300]} "
            f"Install a newer onnxruntime, or convert the model again."
        ) from error


class OnnxEmbedder:
    """A backbone loaded into ONNX Runtime.

    Args:
        content: The ONNX file.
        spec: What one raw sample is.
        width: Number of dimensions of the latent.
        threads: Threads of one call.
        map_shape: Shape of one map, where the second output gives maps; None if there is none.

    Raises:
        BackendError: If it does not load, or is not what the manifest says.
    """

    def __init__(
        self,
        content: bytes,
        spec: InputSpec,
        width: int,
        threads: int,
        map_shape: tuple[int, ...] | None = None,
    ) -> None:
        self._session = open_model(content, threads, "backbone")
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [(width,)] if map_shape is None else [(width,), map_shape]
        fits = len(inputs) == 1 and inputs[0].type == _TYPES[spec.dtype] and len(outputs) == len(shapes)
        fits = fits and list(inputs[0].shape[1:]) == list(spec.shape) and not isinstance(inputs[0].shape[0], int)
        for output, shape in zip(outputs, shapes, strict=False):
            fits = fits and output.type == "tensor(float)" and list(output.shape[1:]) == list(shape)
        if not fits:
            found = [(i.type, i.shape) for i in inputs] + [(o.type, o.shape) for o in outputs]
            wanted = " and ".join(f"(n, {', '.join(map(str, shape))})" for shape in shapes)
            raise BackendError(
                f"expected a backbone from (n, {', '.join(map(str, spec.shape))}) {spec.dtype} to {wanted} "
                f"float32, found {found}. Convert the model again."
            )
        self._input, self._names, self._width = inputs[0].name, [output.name for output in outputs], width
        self._outputs, self._map_shape = self._names[:1], map_shape
        self.description = f"onnxruntime {onnxruntime.__version__}"

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32``."""
        try:
            (latents,) = self._session.run(self._outputs, {self._input: frames})
        except Exception as error:
            raise embedding_failed(self.description, frames, error) from error
        return check_latents(latents, len(frames), self._width, self.description)

    def embed_with_maps(self, frames: NDArray[np.generic]) -> tuple[Float32, Float32]:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32`` and ``(n, *map_shape) float32``."""
        if self._map_shape is None:
            raise no_maps(self.description)
        try:
            latents, maps = self._session.run(self._names, {self._input: frames})
        except Exception as error:
            raise embedding_failed(self.description, frames, error) from error
        n, who = len(frames), self.description
        return check_latents(latents, n, self._width, who), check_maps(maps, n, self._map_shape, who)
