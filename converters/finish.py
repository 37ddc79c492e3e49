"""From an original and its split to a bundle: the same for torch, Keras and ONNX models; torch is not needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bundle import Conformance, LinearLayer
from ..bundle_writer import VariantContent, write_bundle
from ..edge.runtime.runtime import Embedder
from ..latent import LatentCode
from ..manifest import Runtime, Tap
from ..map_code import MapCode
from .arguments import check_arguments as check_arguments
from .arguments import require_two_classes
from .conversion_report import ConversionReport, VariantReport
from .original import Original, embed, open_backbone
from .parity import Parity, require_float, require_quantized
from .quantization.fresh_head import judged_rows
from .quantization.trial import LabelledSamples
from .quantization.wish import Wish
from .source import HeadChoice, drawn
from .source_data import Source, SourceData
from .source_latents import SourceLatents
from .steps import HALF
from .steps import Steps as Steps
from .tap_budget import TapBudget
from .tasks import Outputs, Shipment
from .variant import BackboneFile, Progress, make_variant

if TYPE_CHECKING:
    from .tail_plan import TailPlan

Float32 = NDArray[np.float32]
# Kernels of other processors round differently: on EfficientNet-Lite0 they moved 8-bit latents by up to .023.
QUANTIZED_TOLERANCE, FLOAT_TOLERANCE = 0.05, 1e-3
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
        budget: Which taps were kept for a budget of latent bytes, or None.
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
    source: Source | SourceData | None
    runtimes: Sequence[Runtime]
    wish: Wish
    plan: "TailPlan | None" = None
    budget: TapBudget | None = None
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
        data = self.source
        if data is not None and not isinstance(data, SourceData):
            data = SourceData.of(data, self.original.spec, self.outputs.task)
        labels = None if data is None else data.labels(self.outputs.labels)
        if labels is not None and self.head == "fit" and self.outputs.task == "classification":
            # Of batches, only now is it known.
            require_two_classes([self.outputs.names[place] for place in np.unique(labels)])
        steps.done()
        judged = None
        if data is not None and labels is not None and self.outputs.task == "classification":
            rows = judged_rows(labels)
            judged = LabelledSamples(np.concatenate(list(data.batches(rows))), labels[rows], self._kept())
        kept_in_float: tuple[int, ...] = ()
        tail = None
        contents: list[VariantContent] = []
        reports: list[VariantReport] = []
        for runtime in self.runtimes:
            began = perf_counter()
            after = steps.count + HALF
            file = make_variant(
                runtime,
                self.original,
                self.wish,
                labelled=judged,
                settled=kept_in_float,
                progress=steps.part(HALF),
            )
            steps.reach(after)
            # What the first runtime settled on is tried first for the second: both quantize by the same scheme.
            kept_in_float = file.kept
            embedder = open_backbone(file.content, file.runtime, self.original)
            if data is None or labels is None:
                steps.done(HALF)
                content, score, maps = self._content(file, embedder)
            else:
                with SourceLatents(labels, self.original.width) as latents:
                    self._embed(data, embedder, latents, steps.part(HALF))
                    content, score, maps = self._content(file, embedder, data, latents)
            if maps is not None and self.plan is not None and content.tail is not None:
                (require_quantized if file.quantized else require_float)(maps, f"{runtime} (map)")
                tail = self.plan.report(maps, content.tail, self.runtimes, tail)
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
            self.budget,
            self.outputs.task,
            self.head == "keep",
            0 if data is None else data.size,
        )

    def _kept(self) -> LinearLayer | None:
        return LinearLayer(self.parts.padded_weight(), self.parts.bias) if self.head == "keep" else None

    def _embed(self, data: SourceData, embedder: Embedder, latents: SourceLatents, progress: Progress) -> None:
        done = 0
        for frames in data.batches():
            latents.add(embed(embedder, frames))
            done += len(frames)
            progress(done, data.size)

    def _content(
        self,
        file: BackboneFile,
        embedder: Embedder,
        data: SourceData | None = None,
        source: SourceLatents | None = None,
    ) -> tuple[VariantContent, float | None, Parity | None]:
        latents = embed(embedder, self.original.samples)
        kept = self._kept()
        code = LatentCode.fit(latents) if source is None else source.code(latents)
        shipment, saturated = Shipment(kept), 0.0
        if source is not None:
            shipment = self.outputs.ship(source, code, kept, fit=self.head == "fit")
            saturated = source.saturation(code)
        tail, maps = None, None
        if self.plan is not None and self.original.map_shape(file.runtime) is not None:
            from .tail_plan import starting_head

            maps, map_code = self.plan.mapped.measure(embedder)
            known = drawn(source, self.outputs.names) if source is not None and self.head == "fit" else None
            first = starting_head(self.head, self.parts, code, known, len(self.outputs.names))
            samples = 0 if data is None else data.size
            drawn_maps = self._maps(embedder, map_code, data)
            tail = self.plan.content(map_code, first, drawn_maps, samples, file.runtime)
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

    def _maps(self, embedder: Embedder, code: MapCode, data: SourceData | None) -> Iterator[Float32]:
        """Yield the maps of some of the source as a device stores them: they are what a tail trains on."""
        from .tail_fisher import MOST_GRADIENTS

        if data is None:
            return
        rows = np.sort(np.random.default_rng(0).permutation(data.size)[:MOST_GRADIENTS])
        for frames in data.batches(rows):
            yield code.decode(code.encode(embedder.embed_with_maps(frames)[1]))


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
