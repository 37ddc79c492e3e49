"""One backbone for one runtime: export, quantize, load as the device would, compare with the original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..edge.runtime.runtime import Embedder, load_backbone
from ..errors import BackendError, ConversionError
from ..manifest import InputSpec, Runtime, Tap
from .parity import QUANTIZED_COSINE, Parity, compare, require_float, require_quantized
from .quiet import quiet

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]
FloatConvolutions = int | Literal["auto"]
BATCHES = (1, 8, 32)
# Rungs of "auto". The first convolutions see few channels of very different ranges, so most of the loss is theirs.
_RUNGS = (0, 3, 6)
_GOOD_COSINE = 0.99
_BATCH = 16


@dataclass(frozen=True)
class BackboneFile:
    """A converted backbone.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        content: The file.
        quantized: Whether its weights are integers.
        float_convolutions: How many of the first convolutions stayed in float.
        float_parity: The float export against the original.
        parity: The file itself against the original.
    """

    runtime: Runtime
    content: bytes
    quantized: bool
    float_convolutions: int
    float_parity: Parity
    parity: Parity


@dataclass(frozen=True)
class Original:
    """What is converted.

    Args:
        module: From raw input to latent.
        spec: What one raw sample is.
        taps: What the latent consists of.
        samples: ``(n, *shape)`` raw samples, for calibration and comparison.
        latents: ``(n, d) float32``, what the module gives for them.
    """

    module: nn.Module
    spec: InputSpec
    taps: tuple[Tap, ...]
    samples: NDArray[np.generic]
    latents: Float32

    @property
    def width(self) -> int:
        """Number of dimensions of the latent."""
        return int(self.latents.shape[1])


def run_module(module: nn.Module, samples: NDArray[Any]) -> Float32:
    """Return a module's latents ``(n, d) float32`` for raw samples ``(n, *shape)``, a batch at a time."""
    with torch.no_grad():
        parts = [module(torch.from_numpy(samples[i : i + _BATCH])) for i in range(0, len(samples), _BATCH)]
    return torch.cat(parts).numpy()


def embed(embedder: Embedder, samples: NDArray[Any], batch: int = _BATCH) -> Float32:
    """Return a backbone's latents ``(n, d) float32`` for raw samples ``(n, *shape)``, a batch at a time."""
    if not len(samples):
        return np.empty((0, 0), np.float32)
    return np.concatenate([embedder.embed(samples[i : i + batch]) for i in range(0, len(samples), batch)])


def open_backbone(content: bytes, runtime: Runtime, original: Original) -> Embedder:
    """Load a converted file with the device's own loader.

    Raises:
        ConversionError: If the runtime does not take it.
    """
    try:
        with quiet():
            return load_backbone(content, runtime, original.spec, original.width)
    except BackendError as error:
        raise ConversionError(
            f"expected a {runtime} file that its runtime loads, found: {error} "
            f"Leave {runtime} out of `runtimes` to convert for the other one alone."
        ) from error


def make_float(runtime: Runtime, original: Original) -> tuple[bytes, Parity]:
    """Export to float and check the result at several batch sizes.

    Raises:
        ConversionError: If the export fails, or the file takes one batch size only.
        ParityError: If it computes something else.
    """
    example = torch.from_numpy(np.ascontiguousarray(original.samples[:2]))
    if runtime == "onnx":
        from .export_onnx import export_onnx

        content = export_onnx(original.module, example)
    else:
        from .export_tflite import export_tflite

        content = export_tflite(original.module, example)
    embedder = open_backbone(content, runtime, original)
    rows = np.arange(max(BATCHES)) % len(original.samples)
    parity = None
    for batch in BATCHES:
        try:
            with quiet():
                found = embed(embedder, original.samples[rows], batch)
        except BackendError as error:
            found_instead = str(error).rstrip(".")
            raise ConversionError(
                f"expected a {runtime} file that takes batches of {batch}, found: {found_instead}. An operation of the "
                f"model holds the batch size of the example: write x.view(len(x), ...), or leave {runtime} out of "
                f"`runtimes`."
            ) from error
        parity = compare(found, original.latents[rows], original.taps)
        require_float(parity, f"{runtime} (batch {batch})")
    assert parity is not None  # noqa: S101  BATCHES is not empty
    return content, parity


def make_variant(
    runtime: Runtime,
    original: Original,
    *,
    quantize: bool = True,
    float_convolutions: FloatConvolutions = "auto",
    least_cosine: float = QUANTIZED_COSINE,
    progress: Progress | None = None,
) -> BackboneFile:
    """Convert for one runtime.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        original: What is converted.
        quantize: Whether weights and activations become 8-bit integers.
        float_convolutions: How many of the first convolutions stay in float; ``"auto"`` takes the fewest of 0, 3 and 6
            (a quarter of them at most) that keep a centred cosine of .99, else the closest.
        least_cosine: Least mean of the centred cosine of a quantized model.
        progress: Called with the number of steps done and of all.

    Returns:
        The converted backbone.

    Raises:
        ConversionError: If it cannot be converted.
        ParityError: If it lost too much.
    """
    rungs = _rungs(original.module) if float_convolutions == "auto" else (float_convolutions,)
    report = progress if progress is not None else lambda done, total: None
    content, float_parity = make_float(runtime, original)
    report(1, 1 + len(rungs) * quantize)
    if not quantize:
        return BackboneFile(runtime, content, False, 0, float_parity, float_parity)
    best: BackboneFile | None = None
    for i, rung in enumerate(rungs):
        quantized = _quantize(runtime, content, original.samples, rung)
        embedder = open_backbone(quantized, runtime, original)
        parity = compare(embed(embedder, original.samples), original.latents, original.taps)
        if best is None or parity.whole.cosine > best.parity.whole.cosine:
            best = BackboneFile(runtime, quantized, True, rung, float_parity, parity)
        report(2 + i, 1 + len(rungs))
        if parity.whole.cosine >= _GOOD_COSINE:
            break
    assert best is not None  # noqa: S101  there is always a rung
    require_quantized(best.parity, runtime, least_cosine)
    return best


def _rungs(module: nn.Module) -> Sequence[int]:
    convolutions = sum(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    return [rung for rung in _RUNGS if 4 * rung <= convolutions]


def _quantize(runtime: Runtime, content: bytes, samples: NDArray[np.generic], float_convolutions: int) -> bytes:
    if runtime == "onnx":
        from .quantize_onnx import quantize_onnx

        return quantize_onnx(content, samples, float_convolutions=float_convolutions)
    from .quantize_tflite import quantize_tflite

    return quantize_tflite(content, samples, float_convolutions=float_convolutions)
