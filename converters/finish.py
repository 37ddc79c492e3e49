"""From an original and its split to a bundle: the same for torch, Keras and ONNX models; torch is not needed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bundle import Conformance, LinearLayer
from ..bundle_writer import VariantContent, write_bundle
from ..errors import InputError, OutputExistsError
from ..extras import require
from ..latent import LatentCode
from ..manifest import RUNTIMES, Runtime, Tap
from .classes import Labels
from .conversion_report import ConversionReport, VariantReport
from .original import Original, embed, open_backbone
from .parity import Parity, require_float, require_quantized
from .quantization.fresh_head import judged_rows
from .quantization.trial import LabelledSamples
from .quantization.wish import Wish
from .samples import check_samples
from .source import HeadChoice, Labelled
from .tasks import Outputs, Shipment
from .variant import BackboneFile, Progress, make_variant

if TYPE_CHECKING:
    from .tail_plan import TailPlan

Float32 = NDArray[np.float32]
# Kernels of other processors round differently: on EfficientNet-Lite0 they moved 8-bit latents by up to .023.
QUANTIZED_TOLERANCE, FLOAT_TOLERANCE = 0.05, 1e-3
# Steps of progress for each half of a variant: its conversion, and embedding the source with it.
_HALF = 10
_TOOLS = ("torch", "onnx", "onnxruntime", "litert-torch", "ai-edge-quantizer", "ai-edge-litert")


class Parts(Protocol):
    """A model in two parts (`split.Split`), as far as a bundle needs them."""

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What the latent consists of."""

    @property
    def cut(self) -> str:
        """Name of the cut."""

    @property
    def weight(self) -> Float32:
        """``(k, c)``, the head's weight on the cut."""

    @property
    def bias(self) -> Float32:
        """``(k,)``, the head's bias."""

    def padded_weight(self) -> Float32:
        """Return the head's weight on the whole latent, ``(k, d)``."""


class Steps:
    """Counts steps for the callback."""

    def __init__(self, progress: Progress | None, runtimes: Sequence[Runtime]) -> None:
        self._progress, self._total, self.count = progress, 2 + len(runtimes) * (2 * _HALF + 1), 0
        self.reach(0)

    def done(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.reach(self.count + steps)

    def part(self, steps: int) -> Progress:
        """Return a callback for a part that is worth so many steps."""
        before = self.count
        return lambda done, total: self.reach(before + steps * done // total)

    def reach(self, count: int) -> None:
        """Set the number of steps done."""
        self.count = count
        if self._progress is not None:
            self._progress(self.count, self._total)


@dataclass(frozen=True, eq=False)
class Finish:
    """What is made of an original.

    Args:
        path: Where the bundle is written.
        original: What is converted.
        probes: ``(m, *shape)`` raw samples that no sensor ever gave, for the conformance test.
        parts: Taps, cut and head.
        outputs: What the outputs mean.
        head: See `convert`.
        source: See `convert`.
        runtimes: See `convert`.
        wish: What is asked of quantization.
        plan: A tail in front of the head, or None.
        provenance: Where model and data came from, tools left out.
        licence: Licence of the weights.
        overwrite: Replace a file that is there.
        tools: Names and versions of further tools.
    """

    path: Path
    original: Original
    probes: NDArray[np.generic]
    parts: Parts
    outputs: Outputs
    head: HeadChoice | None
    source: tuple[NDArray[Any], Labels] | None
    runtimes: Sequence[Runtime]
    wish: Wish
    plan: "TailPlan | None" = None
    provenance: Mapping[str, str] | None = None
    licence: str = ""
    overwrite: bool = False
    tools: Mapping[str, str] | None = None

    def write(self, steps: Steps, start: float) -> ConversionReport:
        """Convert for each runtime and write the bundle.

        Args:
            steps: Progress.
            start: When the conversion began (`perf_counter`).

        Returns:
            The report.

        Raises:
            ParityError: If a converted backbone does not do what the model did.
            ConversionError: If an exporter or a quantizer fails.
            InputError: If the source does not fit.
        """
        labelled = None
        if self.source is not None:
            x = check_samples(self.source[0], self.original.spec, "source")
            labelled = (x, self.outputs.labels(self.source[1], len(x)))
        steps.done()
        judged = None
        if labelled is not None and self.outputs.task == "classification":
            rows = judged_rows(labelled[1])
            judged = LabelledSamples(labelled[0][rows], labelled[1][rows], self._kept())
        kept_in_float: tuple[int, ...] = ()
        tail = None
        contents: list[VariantContent] = []
        reports: list[VariantReport] = []
        for runtime in self.runtimes:
            began = perf_counter()
            after = steps.count + _HALF
            file = make_variant(
                runtime,
                self.original,
                self.wish,
                labelled=judged,
                settled=kept_in_float,
                progress=steps.part(_HALF),
            )
            steps.reach(after)
            # What the first runtime settled on is tried first for the second: both quantize by the same scheme.
            kept_in_float = file.kept
            content, score, maps = self._content(file, labelled, steps)
            if maps is not None and self.plan is not None and content.tail is not None:
                (require_quantized if file.quantized else require_float)(maps, f"{runtime} (map)")
                tail = self.plan.report(maps, content.tail, self.runtimes)
            steps.done()
            contents.append(content)
            reports.append(_report(file, score, perf_counter() - began))
        tools = {**_tools(), **(self.tools or {})}
        write_bundle(
            self.path,
            task=self.outputs.task,
            classes=self.outputs.names,
            input=self.original.spec,
            cut=self.parts.cut,
            taps=self.parts.taps,
            variants=contents,
            provenance={**tools, **(self.provenance or {})},
            licence=self.licence,
            tail=None if self.plan is None else self.plan.cut,
            overwrite=self.overwrite,
        )
        steps.done()
        return ConversionReport(
            self.path,
            self.path.stat().st_size,
            self.outputs.names,
            self.parts.taps,
            tuple(reports),
            perf_counter() - start,
            tuple(tools.items()),
            tail,
        )

    def _kept(self) -> LinearLayer | None:
        return LinearLayer(self.parts.padded_weight(), self.parts.bias) if self.head == "keep" else None

    def _content(
        self, file: BackboneFile, source: tuple[NDArray[np.generic], NDArray[Any]] | None, steps: Steps
    ) -> tuple[VariantContent, float | None, Parity | None]:
        embedder = open_backbone(file.content, file.runtime, self.original)
        latents = embed(embedder, self.original.samples)
        kept = self._kept()
        shipment, saturated, known = Shipment(kept), 0.0, None
        if source is None:
            steps.done(_HALF)
            code = LatentCode.fit(latents)
        else:
            embedded = []
            for part in np.array_split(source[0], _HALF):
                embedded.append(embed(embedder, part))
                steps.done()
            whole = np.concatenate([part for part in embedded if len(part)])
            code = LatentCode.fit(np.concatenate([latents, whole]))
            known = Labelled(whole, source[1], self.outputs.names)
            shipment = self.outputs.ship(whole, source[1], code, kept, fit=self.head == "fit")
            saturated = code.saturation(whole)
        tail, maps = None, None
        if self.plan is not None and self.original.map_shape(file.runtime) is not None:
            from .tail_plan import starting_head

            maps, map_code = self.plan.mapped.measure(embedder)
            first = starting_head(self.head, self.parts, code, known, len(self.outputs.names))
            tail = self.plan.content(map_code, first)
        content = VariantContent(
            runtime=file.runtime,
            quantized=file.quantized,
            backbone=file.content,
            code=code,
            conformance=Conformance(self.probes, embed(embedder, self.probes)),
            # 8-bit weights alone are computed with in float.
            tolerance=QUANTIZED_TOLERANCE if file.kind == "int8" else FLOAT_TOLERANCE,
            saturated=saturated,
            head=shipment.head,
            source=shipment.source,
            novelty=shipment.novelty,
            tail=tail,
        )
        return content, shipment.score, maps


def check_arguments(
    out: str | os.PathLike[str],
    runtimes: Sequence[Runtime],
    head: HeadChoice | None,
    source: tuple[NDArray[Any], Labels] | None,
    overwrite: bool,
    tflite_packages: Sequence[str],
    tflite_extra: str = "convert-tflite",
) -> Path:
    """Refuse arguments that do not fit, before any work.

    Args:
        out: See `convert`.
        runtimes: See `convert`.
        head: See `convert`.
        source: See `convert`.
        overwrite: See `convert`.
        tflite_packages: What TFLite files of this kind of model need.
        tflite_extra: The extra that installs them.

    Returns:
        Where the bundle is to be written.

    Raises:
        InputError: If an argument does not fit.
        MissingExtraError: If a package is not installed.
        OutputExistsError: If `out` is there and `overwrite` is false.
    """
    path = Path(out)
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
        for module in tflite_packages:
            require(module, extra=tflite_extra, needed_by="converting for TFLite")
    return path


def _report(file: BackboneFile, score: float | None, seconds: float) -> VariantReport:
    return VariantReport(
        file.runtime,
        file.quantized,
        len(file.content),
        file.float_convolutions,
        file.float_parity,
        file.parity,
        score,
        seconds,
        file.kind,
        file.reason,
        file.layers,
        file.measured(),
    )


def _tools() -> dict[str, str]:
    found = {"acclimate": __version__}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
