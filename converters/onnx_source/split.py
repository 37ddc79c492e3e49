"""From an ONNX file to what every converter works on: an original, a split and a backbone in float."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ...errors import ConversionError, CutError
from ...manifest import MAX_WIDTH, Runtime, Tap
from ..original import Original, run_module
from ..quantization.calibration import check_structure
from ..raw_input import RawInput
from ..samples import calibrated_on
from ..splitting.backbone import Backbone
from ..splitting.examine import Taps
from ..splitting.soundness import check_repeatable
from ..splitting.split import Split
from .backbone import assemble
from .batch import free_batch
from .file import OnnxFile
from .graph import Network
from .head import OnnxHead, find_onnx_head, vector_output
from .input import describe_onnx_input
from .reference import OnnxReference
from .taps import OnnxTap, choose_taps

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


@dataclass(frozen=True, eq=False)
class OnnxSplit:
    """An ONNX file, ready for `make_variant`.

    Args:
        raw: What one raw sample is.
        original: What is converted; its module is an `OnnxOriginal`.
        split: Taps, cut and head.
        notes: What was found, in words.
    """

    raw: RawInput
    original: Original
    split: Split
    notes: tuple[str, ...]


def split_onnx(
    file: OnnxFile,
    calibration: NDArray[Any],
    *,
    keeps_head: bool,
    runtimes: Sequence[Runtime] = ("onnx",),
    deeper: bool = False,
    taps: Taps = "all",
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
        deeper: Whether a cut in front of the head was asked for.
        taps: ``"all"``, ``"last"``, or names of tensors or nodes.
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
        ConversionError: If it cannot be run, or TFLite or a tail was asked for.
    """
    for asked, what in (("tflite" in runtimes, "TFLite"), (deeper, "a training step")):
        if asked:
            raise ConversionError(
                f"expected a runtime and a cut that an ONNX file has a way to, found that {what} was asked for of "
                f"{file.name}. Convert it with runtimes=('onnx',) at its head, or the model that it was made from."
            )
    described = describe_onnx_input(file, calibration, resize=resize, mean=mean, std=std, axes=axes)
    check_structure(calibration)
    samples = calibrated_on(calibration)
    raw = described.raw
    freed = free_batch(file.model, described.shape)
    network = Network(freed, 2)
    head = _find(network, file, keeps_head)
    points = choose_taps(network, head.cut, taps)
    points.append(_cut_point(network, head, file))
    few = torch.from_numpy(np.ascontiguousarray(samples[np.arange(_SAMPLES) % len(samples)]))
    if taps == "all":
        points = _without_repeats(points, OnnxReference(raw.preprocess, file, points).parts(few))
    width = sum(point.width for point in points)
    if width > MAX_WIDTH:
        raise CutError(
            f"{file.name}: expected a latent of at most {MAX_WIDTH:,} dimensions, found {width:,}: "
            f"{[(point.label, point.width) for point in points]}. Convert with taps='last', or name fewer."
        )
    content = assemble(
        freed, raw.preprocess, points, shape=raw.spec.shape, dtype=raw.spec.dtype, simplify=not file.quantized
    )
    module = OnnxOriginal(content, file.quantized, raw.preprocess, file, points).eval()
    check_repeatable(module(few), module(few), module(few[:1]))
    manifest = _layout(points)
    split = Split(cast(Backbone, module), manifest, points[-1].label, head.weight, head.bias)
    original = Original(module, raw.spec, manifest, samples, run_module(module, samples))
    return OnnxSplit(raw, original, split, (head.note,))


def _find(network: Network, file: OnnxFile, keeps_head: bool) -> OnnxHead:
    try:
        return find_onnx_head(network, file.name)
    except CutError:
        shape = network.shapes.get(network.result, ())
        if keeps_head or len(shape) != 2 or shape[1] is None or network.result not in network.live:
            raise
        return vector_output(network, file.name, shape[1])


def _cut_point(network: Network, head: OnnxHead, file: OnnxFile) -> OnnxTap:
    shape = tuple(length for length in network.shapes.get(head.cut, ())[1:] if length is not None)
    width = head.weight.shape[1]
    axis = 1 if shape[:1] == (width,) else len(shape)
    if not shape or shape[axis - 1] != width or len(shape) != len(network.shapes[head.cut]) - 1:
        raise CutError(
            f"{file.name}: expected {width} features at {head.label!r}, found {network.shapes.get(head.cut)}. "
            f"Export the file with fixed shapes."
        )
    return OnnxTap(head.cut, axis, shape, head.label)


def _without_repeats(points: list[OnnxTap], parts: list[NDArray[np.float32]]) -> list[OnnxTap]:
    kept: list[int] = []
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        # The cut comes last and stays; what it repeats in front of it goes.
        if last or not any(_proportional(part, parts[k]) for k in (*kept, len(parts) - 1)):
            kept.append(i)
    return [points[i] for i in kept]


def _proportional(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Return whether one is a multiple of the other, as where dropout's factor lies between them."""
    if a.shape != b.shape:
        return False
    factor = float((a * b).sum()) / max(float((a * a).sum()), 1e-30)
    return float(np.abs(factor * a - b).max()) <= 1e-5 * float(np.abs(b).max()) + 1e-12


def _layout(points: Sequence[OnnxTap]) -> tuple[Tap, ...]:
    taps: list[Tap] = []
    for point in points:
        offset = taps[-1].offset + taps[-1].width if taps else 0
        taps.append(Tap(point.label, offset, point.width))
    return tuple(taps)
