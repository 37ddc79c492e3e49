"""Models in LiteRT (`ai_edge_litert`) or its predecessor `tflite_runtime`: backbones, and the tails behind them."""

import threading
from collections.abc import Collection
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ...manifest import InputSpec
from .runtime import Float32, check_latents, check_maps, embedding_failed, no_maps
from .tflite_scan import refuse_unsound_model


def open_model(
    content: bytes, threads: int, what: str, module: str, only: Collection[int] | None = None
) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Load an untrusted TFLite file.

    Args:
        content: The file.
        threads: Threads of one call.
        what: What it is, for messages.
        module: ``"ai_edge_litert"`` or ``"tflite_runtime"``.
        only: The kinds of operators that it may have; None for any.

    Returns:
        The interpreter, ready for the sizes that the file was written for; and details of its inputs and outputs.

    Raises:
        BackendError: If it reaches outside of itself, would end the process, or does not load.
    """
    refuse_unsound_model(content, only)
    try:
        interpreter = import_module(f"{module}.interpreter").Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter, interpreter.get_input_details(), interpreter.get_output_details()
    # On a malformed file LiteRT also raises KeyError, IndexError and UnicodeDecodeError.
    except Exception as error:
        raise BackendError(
            f"{described(module)} cannot load the {what}: {str(error)[:300]}. "
            f"tflite-runtime needs numpy < 2; otherwise install a newer ai-edge-litert, or convert the model again."
        ) from error


def described(module: str) -> str:
    """Return name and version of the runtime."""
    return f"{module} {_version(module)}"


class LiteRTEmbedder:
    """A backbone loaded into a LiteRT interpreter. An interpreter serves one caller at a time, so calls wait in line.

    Args:
        content: The TFLite file.
        spec: What one raw sample is.
        width: Number of dimensions of the latent.
        threads: Threads of one call.
        module: ``"ai_edge_litert"`` or ``"tflite_runtime"``.
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
        module: str,
        map_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.description = described(module)
        self._width, self._map_shape = width, map_shape
        self._lock = threading.Lock()
        self._interpreter, inputs, outputs = open_model(content, threads, "backbone", module)
        shapes = [(width,)] if map_shape is None else [(width,), map_shape]
        fits = len(inputs) == 1 and inputs[0]["dtype"] == np.dtype(spec.dtype) and len(outputs) == len(shapes)
        fits = fits and tuple(inputs[0]["shape"][1:]) == spec.shape
        for output, shape in zip(outputs, shapes, strict=False):
            fits = fits and output["dtype"] == np.float32 and tuple(output["shape"][1:]) == shape
        if not fits:
            found = [(d["dtype"].__name__, tuple(d["shape"])) for d in (*inputs, *outputs)]
            wanted = " and ".join(f"(n, {', '.join(map(str, shape))})" for shape in shapes)
            raise BackendError(
                f"expected a backbone from (n, {', '.join(map(str, spec.shape))}) {spec.dtype} to {wanted} "
                f"float32, found {found}. Convert the model again."
            )
        self._input, self._outputs = int(inputs[0]["index"]), [int(output["index"]) for output in outputs]
        self._batch = int(inputs[0]["shape"][0])

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32``."""
        (latents,) = self._run(frames, self._outputs[:1])
        return check_latents(latents, len(frames), self._width, self.description)

    def embed_with_maps(self, frames: NDArray[np.generic]) -> tuple[Float32, Float32]:
        """Run the backbone: ``(n, *shape)`` to ``(n, d) float32`` and ``(n, *map_shape) float32``."""
        if self._map_shape is None:
            raise no_maps(self.description)
        latents, maps = self._run(frames, self._outputs)
        n, who = len(frames), self.description
        return check_latents(latents, n, self._width, who), check_maps(maps, n, self._map_shape, who)

    def _run(self, frames: NDArray[np.generic], outputs: list[int]) -> list[NDArray[np.generic]]:
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
                return [self._interpreter.get_tensor(output) for output in outputs]
        except Exception as error:
            raise embedding_failed(self.description, frames, error) from error


def _version(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    # A nightly build goes by another name.
    except PackageNotFoundError:
        return "of unknown version"
