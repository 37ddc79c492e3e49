"""From an ONNX file to what every converter works on: an original, a split and a backbone in float."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ...errors import ConversionError, CutError
from ...manifest import MAX_WIDTH, Runtime, Tap
from ..mapped import Mapped
from ..original import Original, run_module
from ..quantization.calibration import check_structure
from ..raw_input import RawInput
from ..samples import calibrated_on
from ..splitting.backbone import Backbone
from ..splitting.examine import Taps
from ..splitting.soundness import check_repeatable
from ..splitting.split import Split
from ..tap_pooling import Pooling
from .backbone import assemble
from .batch import free_batch
from .file import OnnxFile
from .graph import Network
from .head import OnnxHead, find_onnx_head, vector_output
from .input import describe_onnx_input
from .latent import head_input, latent_parts
from .operation import BATCHES
from .reference import OnnxReference
from .tail import OnnxTailPart, build_tail, find_tail
from .taps import OnnxTap

_SAMPLES = 4


class OnnxOriginal(OnnxReference):
    """The original together with the backbone that was assembled from it; `export_onnx` takes that as it is.

    Args:
        content: The backbone in float, or as quantized as the file is.
        quantized: Whether it computes in 8 bits already.
        prepare: See `OnnxReference`.
        file: Likewise.
        taps: Likewise.
    """

    def __init__(
        self, content: bytes, quantized: bool, prepare: nn.Module, file: OnnxFile, taps: Sequence[OnnxTap]
    ) -> None:
        super().__init__(prepare, file, taps)
        self.content, self.quantized = content, quantized


class OnnxMapped(nn.Module):
    """The original of a bundle with a tail, together with the backbone that gives latents and maps.

    Args:
        content: The backbone.
        prepare: See `OnnxReference`.
        file: Likewise.
        taps: Likewise.
        cut: Where the tail begins.
    """

    def __init__(
        self, content: bytes, prepare: nn.Module, file: OnnxFile, taps: Sequence[OnnxTap], cut: OnnxTap
    ) -> None:
        super().__init__()
        self.content = content
        self.reference = OnnxReference(prepare, file, [*taps, cut])

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents ``(n, d) float32`` and the maps ``(n, *shape) float32`` of raw samples."""
        tensors = self.reference.tensors(raw)
        latents = np.concatenate(self.reference.pooled(tensors)[:-1], axis=1)
        return torch.from_numpy(latents), torch.from_numpy(np.asarray(tensors[-1], np.float32))


@dataclass(frozen=True, eq=False)
class OnnxSplit:
    """An ONNX file, ready for `make_variant`.

    Args:
        raw: What one raw sample is.
        original: What is converted; its module is an `OnnxOriginal`.
        split: Taps, cut and head.
        notes: What was found, in words.
        tail: What lies behind the cut that was asked for; `original` then gives maps too.
    """

    raw: RawInput
    original: Original
    split: Split
    notes: tuple[str, ...]
    tail: OnnxTailPart | None = None


def split_onnx(
    file: OnnxFile,
    calibration: NDArray[Any],
    *,
    keeps_head: bool,
    runtimes: Sequence[Runtime] = ("onnx",),
    where: str | int | None = None,
    taps: Taps = "all",
    pooling: Pooling = "mean",
    resize: tuple[int, int] | None = None,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    axes: Sequence[str] | None = None,
) -> OnnxSplit:
    """Find head and taps of a file, and make a backbone of it.

    Args:
        file: The file.
        calibration: Calibration data as for `convert`.
        keeps_head: Whether the file's own head is wanted; a file that ends in a vector per sample has none.
        runtimes: What is converted for.
        where: A cut in front of the head for a tail: its name, or how many blocks lie behind it.
        taps: ``"all"``, ``"last"``, or names of tensors or nodes.
        pooling: See `convert`.
        resize: See `convert`; by default the size that the file takes.
        mean: See `convert`.
        std: See `convert`.
        axes: See `convert`.

    Returns:
        The parts.

    Raises:
        CutError: If it cannot be split.
        CalibrationError: If the data does not fit the file.
        InputError: If another argument does not.
        ConversionError: If it cannot be run, TFLite was asked for, or what lies behind the cut cannot be trained.
    """
    if "tflite" in runtimes:
        raise ConversionError(
            f"expected a runtime that an ONNX file has a way to, found that TFLite was asked for of {file.name}. "
            f"Convert it with runtimes=('onnx',), or the model that it was made from."
        )
    described = describe_onnx_input(file, calibration, resize=resize, mean=mean, std=std, axes=axes)
    check_structure(calibration)
    samples = calibrated_on(calibration)
    raw = described.raw
    freed = free_batch(file.model, described.shape)
    network = Network(freed, 2)
    head = _find(network, file, keeps_head)
    end = head_input(network, head, file)
    found = None
    if where is not None:
        found = find_tail(network, file.name, head, end, where, quantized=file.quantized)
    few = torch.from_numpy(np.ascontiguousarray(samples[np.arange(_SAMPLES) % len(samples)]))
    points = latent_parts(network, file, end, raw.preprocess, few, taps, pooling)
    width = sum(point.width for point in points)
    if width > MAX_WIDTH:
        raise CutError(
            f"{file.name}: expected a latent of at most {MAX_WIDTH:,} dimensions, found {width:,}: "
            f"{[(point.label, point.width) for point in points]}. Convert with taps='last', or name fewer."
        )
    content = assemble(
        freed,
        raw.preprocess,
        points,
        shape=raw.spec.shape,
        dtype=raw.spec.dtype,
        simplify=not file.quantized,
        cut=None if found is None else found.cut,
    )
    module = OnnxOriginal(content, file.quantized, raw.preprocess, file, points).eval()
    check_repeatable(module(few), module(few), module(few[:1]))
    manifest = _layout(points)
    split = Split(cast(Backbone, module), manifest, points[-1].label, head.weight, head.bias)
    original = Original(module, raw.spec, manifest, samples, run_module(module, samples))
    if found is None:
        return OnnxSplit(raw, original, split, (head.note,))
    tail = build_tail(found, raw.preprocess(few[: BATCHES[-1]]).numpy())
    mapped = Mapped.of(
        OnnxMapped(content, raw.preprocess, file, points, found.cut).eval(), found.cut.label, found.cut.axis, samples
    )
    return OnnxSplit(raw, replace(original, mapped=mapped), split, (head.note,), tail)


def _find(network: Network, file: OnnxFile, keeps_head: bool) -> OnnxHead:
    try:
        return find_onnx_head(network, file.name)
    except CutError:
        shape = network.shapes.get(network.result, ())
        if keeps_head or len(shape) != 2 or shape[1] is None or network.result not in network.live:
            raise
        return vector_output(network, file.name, shape[1])


def _layout(points: Sequence[OnnxTap]) -> tuple[Tap, ...]:
    taps: list[Tap] = []
    for point in points:
        offset = taps[-1].offset + taps[-1].width if taps else 0
        taps.append(Tap(point.label, offset, point.width))
    return tuple(taps)
