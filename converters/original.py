"""What is converted, and the loading and running of what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..edge.runtime.runtime import Embedder, load_backbone
from ..errors import BackendError, ConversionError
from ..manifest import InputSpec, Runtime, Tap
from .parity import Parity, compare, require_float
from .quiet import quiet

if TYPE_CHECKING:
    from torch import nn

    from .mapped import Mapped
    from .quantization.trained_ranges import TrainedRange

Float32 = NDArray[np.float32]
BATCHES = (1, 8, 32)
BATCH = 16


@dataclass(frozen=True)
class ExportedFiles:
    """A model that was exported in another process.

    Args:
        files: The float file of each runtime.
    """

    files: Mapping[Runtime, bytes]


@dataclass(frozen=True)
class Original:
    """What is converted.

    Args:
        module: From raw input to latent, or its exported files.
        spec: What one raw sample is.
        taps: What the latent consists of.
        samples: ``(n, *shape)`` raw samples, for calibration and comparison.
        latents: ``(n, d) float32``, what the module gives for them.
        mapped: What gives the maps of a tail too, for some runtimes; None without a tail.
        trained: Ranges of activations that training has chosen.
    """

    module: "nn.Module | ExportedFiles"
    spec: InputSpec
    taps: tuple[Tap, ...]
    samples: NDArray[np.generic]
    latents: Float32
    mapped: "Mapped | None" = None
    trained: "tuple[TrainedRange, ...]" = ()

    def map_shape(self, runtime: Runtime) -> tuple[int, ...] | None:
        """Return the shape of the maps of a runtime's backbone, or None where it gives none."""
        return None if self.mapped is None or runtime not in self.mapped.runtimes else self.mapped.shape

    @property
    def width(self) -> int:
        """Number of dimensions of the latent."""
        return int(self.latents.shape[1])


def run_module(module: "nn.Module", samples: NDArray[Any]) -> Float32:
    """Return a module's latents ``(n, d) float32`` for raw samples ``(n, *shape)``, a batch at a time."""
    import torch

    with torch.no_grad():
        parts = [module(torch.from_numpy(samples[i : i + BATCH])) for i in range(0, len(samples), BATCH)]
    return torch.cat(parts).numpy()


def embed(embedder: Embedder, samples: NDArray[Any], batch: int = BATCH) -> Float32:
    """Return a backbone's latents ``(n, d) float32`` for raw samples ``(n, *shape)``, a batch at a time."""
    if not len(samples):
        return np.empty((0, 0), np.float32)
    return np.concatenate([embedder.embed(samples[i : i + batch]) for i in range(0, len(samples), batch)])


def open_backbone(content: bytes, runtime: Runtime, original: Original, threads: int | None = None) -> Embedder:
    """Load a converted file with the device's own loader.

    Raises:
        ConversionError: If the runtime does not take it.
    """
    try:
        with quiet():
            shape = original.map_shape(runtime)
            return load_backbone(content, runtime, original.spec, original.width, threads, shape)
    except BackendError as error:
        raise ConversionError(
            f"expected a file for {runtime} that its runtime loads, found: {error} "
            f"Leave {runtime} out of `runtimes` to convert for the other one alone."
        ) from error


def make_float(runtime: Runtime, original: Original) -> tuple[bytes, Parity]:
    """Export to float and check the result at several batch sizes.

    Raises:
        ConversionError: If the export fails, or the file takes one batch size only.
        ParityError: If it computes something else.
    """
    content = _export(runtime, original)
    embedder = open_backbone(content, runtime, original)
    # From all over the data: samples that come one after the other are often of one class.
    rows = np.linspace(0, len(original.samples) - 1, max(BATCHES)).round().astype(int)
    parity = None
    for batch in BATCHES:
        try:
            with quiet():
                found = embed(embedder, original.samples[rows], batch)
        except BackendError as error:
            found_instead = str(error).rstrip(".")
            raise ConversionError(
                f"expected a file for {runtime} that takes batches of {batch}, found: {found_instead}. An operation of "
                f"the model holds the batch size of the example: write x.view(x.shape[0], ...), or leave "
                f"{runtime} out of `runtimes`."
            ) from error
        parity = compare(found, original.latents[rows], original.taps)
        require_float(parity, f"{runtime} (batch {batch})")
    assert parity is not None  # noqa: S101  BATCHES is not empty
    return content, parity


def _export(runtime: Runtime, original: Original) -> bytes:
    mapped = original.mapped
    module = original.module if mapped is None or runtime not in mapped.runtimes else mapped.module
    if isinstance(module, ExportedFiles):
        return module.files[runtime]
    import torch

    example = torch.from_numpy(np.ascontiguousarray(original.samples[:2]))
    if runtime == "onnx":
        from .export_onnx import export_onnx

        return export_onnx(module, example)
    from .export_tflite import export_tflite

    content = export_tflite(module, example)
    if module is original.module:
        return content
    from .tflite_map import part_map

    return part_map(content)
