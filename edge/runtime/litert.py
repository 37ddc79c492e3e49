"""Backbones in LiteRT (`ai_edge_litert`) or its predecessor `tflite_runtime`."""

import threading
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ...manifest import InputSpec
from .runtime import Float32, check_latents, embedding_failed, no_maps
from .tflite_scan import refuse_unsound_model


class LiteRTEmbedder:
    """A backbone loaded into a LiteRT interpreter. An interpreter serves one caller at a time, so calls wait in line.

    Args:
        content: The TFLite file.
        spec: What one raw sample is.
        width: Number of dimensions of the latent.
        threads: Threads of one call.
        module: ``"ai_edge_litert"`` or ``"tflite_runtime"``.

    Raises:
        BackendError: If it does not load, or is not what the manifest says.
    """

    def __init__(self, content: bytes, spec: InputSpec, width: int, threads: int, module: str) -> None:
        refuse_unsound_model(content)
        self.description = f"{module} {_version(module)}"
        self._width = width
        self._lock = threading.Lock()
        try:
            interpreter = import_module(f"{module}.interpreter").Interpreter
            self._interpreter = interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        # On a malformed file LiteRT also raises KeyError, IndexError and UnicodeDecodeError.
        except Exception as error:
            raise BackendError(
                f"{self.description} cannot load the backbone: {str(error)[:300]}. "
                f"tflite-runtime needs numpy < 2; otherwise install a newer ai-edge-litert, or convert the model again."
            ) from error
        fits = len(inputs) == len(outputs) == 1 and inputs[0]["dtype"] == np.dtype(spec.dtype)
        fits = fits and tuple(inputs[0]["shape"][1:]) == spec.shape and outputs[0]["dtype"] == np.float32
        if not fits or tuple(outputs[0]["shape"][1:]) != (width,):
            found = [(d["dtype"].__name__, tuple(d["shape"])) for d in (*inputs, *outputs)]
            raise BackendError(
                f"expected a backbone from (n, {', '.join(map(str, spec.shape))}) {spec.dtype} to (n, {width}) "
                f"float32, found {found}. Convert the model again."
            )
        self._input, self._output = int(inputs[0]["index"]), int(outputs[0]["index"])
        self._batch = int(inputs[0]["shape"][0])

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32``."""
        try:
            with self._lock:
                if len(frames) != self._batch:
                    # A resize that fails half-way leaves a size that nobody knows.
                    self._batch = -1
                    self._interpreter.resize_tensor_input(self._input, frames.shape)
                    self._interpreter.allocate_tensors()
                    self._batch = len(frames)
                self._interpreter.set_tensor(self._input, frames)
                self._interpreter.invoke()
                latents = self._interpreter.get_tensor(self._output)
        except Exception as error:
            raise embedding_failed(self.description, frames, error) from error
        return check_latents(latents, len(frames), self._width, self.description)

    def embed_with_maps(self, frames: NDArray[np.generic]) -> tuple[Float32, Float32]:
        """Refuse: a backbone in this format gives no maps."""
        raise no_maps(self.description)


def _version(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    # A nightly build goes by another name.
    except PackageNotFoundError:
        return "of unknown version"
