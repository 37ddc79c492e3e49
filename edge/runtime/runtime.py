"""Which inference runtime runs the backbone: one protocol, resolved in one place.

The device side never imports TensorFlow: the TFLite runtimes are `ai_edge_litert` and its predecessor `tflite_runtime`.
"""

import math
import os
from importlib.util import find_spec
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...errors import BackendError, MissingExtraError
from ...manifest import RUNTIMES, InputSpec, Runtime

Float32 = NDArray[np.float32]
RuntimeChoice = Literal["auto", "onnx", "tflite"]
_FLOAT32 = np.dtype(np.float32)
_MODULES: dict[Runtime, tuple[str, ...]] = {"onnx": ("onnxruntime",), "tflite": ("ai_edge_litert", "tflite_runtime")}


class Embedder(Protocol):
    """A loaded backbone. Safe to call from several threads."""

    @property
    def description(self) -> str:
        """Name and version of the runtime."""

    def embed(self, frames: NDArray[np.generic]) -> Float32:
        """Run the backbone once.

        Args:
            frames: ``(n, *shape)`` in the type of the input, checked before.

        Returns:
            ``(n, d) float32`` latents.
        """

    def embed_with_maps(self, frames: NDArray[np.generic]) -> tuple[Float32, Float32]:
        """Run a backbone that gives maps too, once.

        Args:
            frames: As for `embed`.

        Returns:
            ``(n, d) float32`` latents and ``(n, *shape) float32`` maps.

        Raises:
            BackendError: If it gives none.
        """


def installed(runtime: Runtime) -> str | None:
    """Return the module that serves a runtime on this machine, or None."""
    return next((module for module in _MODULES[runtime] if find_spec(module) is not None), None)


def choose_runtime(bundle: Bundle, wanted: RuntimeChoice = "auto", bound_to: str | None = None) -> Runtime:
    """Choose the runtime to open a bundle with.

    Args:
        bundle: The bundle.
        wanted: A runtime, or ``"auto"``: the one whose variant an existing store is bound to, and without such a store
            the first that is both installed and in the bundle, ONNX Runtime before LiteRT.
        bound_to: Hash of the variant that an existing store is bound to.

    Returns:
        ``"onnx"`` or ``"tflite"``.

    Raises:
        MissingExtraError: If no runtime that fits is installed.
        BundleFormatError: If the bundle has no variant for the one wanted.
        BackendError: If `wanted` is not a known name.
    """
    if wanted not in ("auto", *RUNTIMES):
        raise BackendError(f"expected runtime 'auto' or one of {RUNTIMES}, found {wanted!r}. Name one of these.")
    candidates = [bundle.variant(wanted)] if wanted != "auto" else list(bundle.manifest.variants)
    # Latents differ between runtimes, so a store can only go on with the one that it was made with.
    candidates = [variant for variant in candidates if variant.hash == bound_to] or candidates
    candidates.sort(key=lambda variant: RUNTIMES.index(variant.runtime))
    for variant in candidates:
        if installed(variant.runtime):
            return variant.runtime
    names = [variant.runtime for variant in candidates]
    raise MissingExtraError(
        f"{bundle.path.name} needs an inference runtime for {' or '.join(names)}, and none is installed. "
        f"Install one with: " + " or ".join(f"pip install 'acclimate[{name}]'" for name in names)
    )


def load_backbone(
    content: bytes,
    runtime: Runtime,
    spec: InputSpec,
    width: int,
    threads: int | None = None,
    map_shape: tuple[int, ...] | None = None,
) -> Embedder:
    """Load a backbone into its runtime.

    Args:
        content: The ONNX or TFLite file.
        runtime: Which of the two it is.
        spec: What one raw sample is.
        width: Number of dimensions of the latent.
        threads: Threads that the runtime may use; None takes every core that this process may use.
        map_shape: Shape of one map, where the backbone gives maps.

    Returns:
        The loaded backbone.

    Raises:
        BackendError: If it does not load, or is not what the manifest says.
        MissingExtraError: If the runtime is not installed.
    """
    threads = usable_cores() if threads is None else threads
    if threads < 1:
        raise BackendError(f"expected at least 1 thread, found {threads}. Leave it out to use every core.")
    module = installed(runtime)
    if module is None:
        raise MissingExtraError(
            f"running a backbone for {runtime} needs {_MODULES[runtime][0]!r}, which is not installed. "
            f"Install it with: pip install 'acclimate[{runtime}]'"
        )
    if runtime == "onnx":
        from .onnx import OnnxEmbedder

        return OnnxEmbedder(content, spec, width, threads, map_shape)
    from .litert import LiteRTEmbedder

    return LiteRTEmbedder(content, spec, width, threads, module, map_shape)


def embedding_failed(description: str, frames: NDArray[np.generic], error: Exception) -> BackendError:
    """Return the error for a runtime that loaded a backbone and cannot run it."""
    return BackendError(
        f"{description} failed on {frames.shape} {frames.dtype}: {str(error)[:300]} Convert the model again."
    )


def no_maps(description: str) -> BackendError:
    """Return the error for a backbone that is asked for maps and gives none."""
    return BackendError(
        f"expected a backbone that gives maps, found one for {description} that does not. Convert it with a tail."
    )


def check_latents(latents: NDArray[np.generic], n: int, width: int, who: str) -> Float32:
    """Check what a backbone gave.

    Args:
        latents: What it gave.
        n: Number of frames.
        width: Number of dimensions of the latent.
        who: Name of the runtime, for the message.

    Returns:
        The same, ``(n, d) float32``.

    Raises:
        BackendError: If it has another type or shape, or values that are not finite.
    """
    if latents.dtype != _FLOAT32 or latents.shape != (n, width):
        raise BackendError(
            f"expected latents ({n}, {width}) float32, found that {who} gives {latents.shape} {latents.dtype}. "
            f"Convert the model again with a free batch axis."
        )
    return _check_finite(cast(Float32, latents), "latents", who)


def check_maps(maps: NDArray[np.generic], n: int, shape: tuple[int, ...], who: str) -> Float32:
    """Check the maps ``(n, *shape) float32`` that a backbone gave, as `check_latents` does latents."""
    if maps.dtype != _FLOAT32 or maps.shape != (n, *shape):
        raise BackendError(
            f"expected maps {(n, *shape)} float32, found that {who} gives {maps.shape} {maps.dtype}. "
            f"Convert the model again with a free batch axis."
        )
    return _check_finite(cast(Float32, maps), "maps", who)


def _check_finite(found: Float32, what: str, who: str) -> Float32:
    # A sum of squares is finite only if all values are, and costs one product at every prediction.
    flat = found.ravel()
    if not (math.isfinite(flat.dot(flat)) or np.isfinite(found).all()):
        place = int(np.isfinite(found).reshape(len(found), -1).all(axis=1).argmin())
        raise BackendError(
            f"expected finite {what}, found that {who} gives NaN or infinity for frame {place} of {len(found)}. "
            f"Look at that frame, or convert the model again."
        )
    return found


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
