"""From a trained torch model to one bundle."""

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from .._version import __version__
from ..bundle import Conformance, LinearLayer
from ..bundle_writer import VariantContent, write_bundle
from ..errors import InputError, OutputExistsError
from ..extras import require
from ..latent import LatentCode
from ..manifest import RUNTIMES, Runtime, Task
from .classes import Labels
from .conversion_report import ConversionReport, VariantReport
from .parity import QUANTIZED_COSINE
from .raw_input import check_samples, describe_input, synthetic_samples
from .source import HeadChoice
from .split import Split, Taps, split
from .tasks import Outputs, Shipment, name_outputs
from .variant import BackboneFile, FloatConvolutions, Original, Progress, embed, make_variant, open_backbone, run_module

# Kernels of other processors round differently: on EfficientNet-Lite0 they moved 8-bit latents by up to .023.
QUANTIZED_TOLERANCE, FLOAT_TOLERANCE = 0.05, 1e-3
_CALIBRATED_ON = 256
# Steps of progress for each half of a variant: its conversion, and embedding the source with it.
_HALF = 10
_TOOLS = ("torch", "onnx", "onnxruntime", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")


def convert(
    model: nn.Module,
    calibration: NDArray[Any],
    *,
    out: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    task: Task = "classification",
    targets: Sequence[str] | None = None,
    source: tuple[NDArray[Any], Labels] | None = None,
    head: HeadChoice | None = "keep",
    taps: Taps = "all",
    runtimes: Sequence[Runtime] = RUNTIMES,
    quantize: bool = True,
    float_convolutions: FloatConvolutions = "auto",
    least_cosine: float = QUANTIZED_COSINE,
    resize: tuple[int, int] | None = None,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    axes: Sequence[str] | None = None,
    provenance: Mapping[str, str] | None = None,
    licence: str = "",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ConversionReport:
    """Convert a trained model into a bundle that a device can open and adapt.

    Args:
        model: A torch module that ends in an ``nn.Linear``. It is not changed.
        calibration: ``(n, height, width, channels) uint8`` frames as the device's sensor gives them, of the size that
            the bundle is to take, or ``(n, ...) float32`` samples of another kind. A few dozen, at least 8; of more
            than 256, evenly spaced ones are used.
        out: Where to write; the suffix ``.acc`` is usual.
        classes: Names of the classes in the order of the model's outputs; by default "0", "1", ..., or the labels of
            `source` where the head is not kept.
        task: ``"classification"``, or ``"regression"`` where the outputs are values.
        targets: For regression, names of the values in the order of the model's outputs; by default "value", or
            "value 0", "value 1", ...
        source: Samples like `calibration`, with labels, for regression ``(n,)`` or ``(n, t)`` numbers: their statistics
            travel in the bundle, and with a shipped head what it calls unknown. All are embedded, and their latents
            held in memory.
        head: ``"keep"`` ships the model's own last layer, ``"fit"`` one fitted on all taps of `source`; None ships
            none, and the device defines its classes.
        taps: ``"all"``, ``"last"`` or names of modules (`split`).
        runtimes: ``"onnx"``, ``"tflite"`` or both.
        quantize: Whether weights and activations become 8-bit integers.
        float_convolutions: How many of the first convolutions stay in float (`make_variant`).
        least_cosine: Least mean of the centred cosine between the quantized latents and the original's.
        resize: Height and width that the model takes, if frames have another size.
        mean: Mean of the model's normalisation: per channel, with pixel values in 0 to 1, for frames.
        std: Its standard deviation.
        axes: Names of the axes of a float32 sample, for example ``("channel", "time")``.
        provenance: Where model and data came from. Versions of the tools are added.
        licence: Licence of the weights.
        progress: Called with the number of steps done and of all.
        overwrite: Replace a file that is there.

    Returns:
        The report.

    Raises:
        CutError: If the model cannot be split.
        CalibrationError: If the calibration data does not fit.
        ParityError: If a converted backbone does not do what the model did.
        ConversionError: If an exporter or a quantizer fails.
        InputError: If another argument does not fit.
        MissingExtraError: If a package is not installed.
        OutputExistsError: If `out` is there and `overwrite` is false.
    """
    start = perf_counter()
    path = Path(out)
    _check_arguments(path, runtimes, head, source, overwrite)
    steps = _Steps(progress, 2 + len(runtimes) * (2 * _HALF + 1))
    raw = describe_input(calibration, model, resize=resize, mean=mean, std=std, axes=axes)
    samples = calibration[np.linspace(0, len(calibration) - 1, min(len(calibration), _CALIBRATED_ON)).astype(int)]
    with torch.no_grad():
        parts = split(model, raw.preprocess(torch.from_numpy(np.ascontiguousarray(samples[:4]))), taps)
    module = nn.Sequential()
    module.add_module("preprocess", raw.preprocess)
    module.add_module("backbone", parts.backbone)
    original = Original(module.eval(), raw.spec, parts.taps, samples, run_module(module, samples))
    kept = len(parts.bias) if head == "keep" else None
    outputs = name_outputs(task, classes, targets, None if source is None else source[1], kept)
    labelled = None
    if source is not None:
        x = check_samples(source[0], raw.spec, "source")
        labelled = (x, outputs.labels(source[1], len(x)))
    steps.done()
    contents: list[VariantContent] = []
    reports: list[VariantReport] = []
    for runtime in runtimes:
        began = perf_counter()
        # What the first runtime settled on holds for the second: both quantize by the same scheme.
        settled = reports[0].float_convolutions if reports else float_convolutions
        after = steps.count + _HALF
        file = make_variant(
            runtime,
            original,
            quantize=quantize,
            float_convolutions=settled,
            least_cosine=least_cosine,
            progress=steps.part(_HALF),
        )
        steps.reach(after)
        content, score = _content(file, original, parts, head, outputs, labelled, synthetic_samples(raw), steps)
        steps.done()
        contents.append(content)
        reports.append(
            VariantReport(
                runtime,
                file.quantized,
                len(file.content),
                file.float_convolutions,
                file.float_parity,
                file.parity,
                score,
                perf_counter() - began,
            )
        )
    write_bundle(
        path,
        task=task,
        classes=outputs.names,
        input=raw.spec,
        cut=parts.cut,
        taps=parts.taps,
        variants=contents,
        provenance={**_tools(), **(provenance or {})},
        licence=licence,
        overwrite=overwrite,
    )
    steps.done()
    return ConversionReport(
        path, path.stat().st_size, outputs.names, parts.taps, tuple(reports), perf_counter() - start
    )


class _Steps:
    """Counts steps for the callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self.count = progress, total, 0
        self.reach(0)

    def done(self, steps: int = 1) -> None:
        self.reach(self.count + steps)

    def part(self, steps: int) -> Progress:
        before = self.count
        return lambda done, total: self.reach(before + steps * done // total)

    def reach(self, count: int) -> None:
        self.count = count
        if self._progress is not None:
            self._progress(self.count, self._total)


def _check_arguments(
    path: Path,
    runtimes: Sequence[Runtime],
    head: HeadChoice | None,
    source: tuple[NDArray[Any], Labels] | None,
    overwrite: bool,
) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"expected no file at {path}, found one. Choose another name or allow overwriting.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"expected a folder to write {path.name} into, found none at {path.parent}. Make it first.")
    if (
        isinstance(runtimes, str)
        or not runtimes
        or set(runtimes) - set(RUNTIMES)
        or len(set(runtimes)) != len(runtimes)
    ):
        raise InputError(f"expected runtimes out of {RUNTIMES}, each once, found {runtimes!r}.")
    if head not in ("keep", "fit", None):
        raise InputError(f"expected head 'keep', 'fit' or None, found {head!r}.")
    if head == "fit" and source is None:
        raise InputError("expected labelled source samples to fit a head on, found none. Pass source=(x, y).")
    if "tflite" in runtimes:
        for module in ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"):
            require(module, extra="convert-tflite", needed_by="converting for TFLite")


def _content(
    file: BackboneFile,
    original: Original,
    parts: Split,
    head: HeadChoice | None,
    outputs: Outputs,
    source: tuple[NDArray[np.generic], NDArray[Any]] | None,
    probes: NDArray[np.generic],
    steps: "_Steps",
) -> tuple[VariantContent, float | None]:
    embedder = open_backbone(file.content, file.runtime, original)
    latents = embed(embedder, original.samples)
    kept = LinearLayer(parts.padded_weight(), parts.bias) if head == "keep" else None
    shipment, saturated = Shipment(kept), 0.0
    if source is None:
        steps.done(_HALF)
        code = LatentCode.fit(latents)
    else:
        embedded = []
        for part in np.array_split(source[0], _HALF):
            embedded.append(embed(embedder, part))
            steps.done()
        whole = np.concatenate(embedded)
        code = LatentCode.fit(np.concatenate([latents, whole]))
        shipment, saturated = outputs.ship(whole, source[1], code, kept, fit=head == "fit"), code.saturation(whole)
    content = VariantContent(
        runtime=file.runtime,
        quantized=file.quantized,
        backbone=file.content,
        code=code,
        conformance=Conformance(probes, embed(embedder, probes)),
        tolerance=QUANTIZED_TOLERANCE if file.quantized else FLOAT_TOLERANCE,
        saturated=saturated,
        head=shipment.head,
        source=shipment.source,
        novelty=shipment.novelty,
    )
    return content, shipment.score


def _tools() -> dict[str, str]:
    found = {"acclimate": __version__}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
