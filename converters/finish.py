"""From an original and its split to a bundle: the same for torch, Keras and ONNX models; torch is not needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bundle_writer import write_bundle
from ..edge.runtime.runtime import Embedder
from ..manifest import Runtime, Tap
from .agreement import agreement
from .arguments import require_two_classes
from .conversion_report import ConversionReport, VariantReport
from .original import Original, embed, open_backbone
from .parity import require_float, require_quantized
from .quantization.fresh_head import judged_rows
from .quantization.trial import LabelledSamples
from .quantization.wish import Wish
from .source import HeadChoice
from .source_data import Source, SourceData
from .source_latents import SourceLatents
from .steps import HALF, Steps
from .tap_budget import TapBudget
from .tasks import Outputs
from .variant import Progress, make_variant
from .variant_content import Contents, Made

if TYPE_CHECKING:
    from .tail_plan import TailPlan

Float32 = NDArray[np.float32]
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
            ParityError: If a converted backbone does not do what the model did, or float ones of two runtimes differ.
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
        contents = Contents(self.original, self.probes, self.parts, self.outputs, self.head, self.plan)
        judged = None
        if data is not None and labels is not None and self.outputs.task == "classification":
            rows = judged_rows(labels)
            judged = LabelledSamples(np.concatenate(list(data.batches(rows))), labels[rows], contents.kept)
        kept_in_float: tuple[int, ...] = ()
        tail = None
        variants: list[Made] = []
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
                made = contents.make(file, embedder)
            else:
                with SourceLatents(labels, self.original.width) as latents:
                    self._embed(data, embedder, latents, steps.part(HALF))
                    made = contents.make(file, embedder, data, latents)
            if made.maps is not None and self.plan is not None and made.content.tail is not None:
                (require_quantized if file.quantized else require_float)(made.maps, f"{runtime} (map)")
                tail = self.plan.report(made.maps, made.content.tail, self.runtimes, tail)
            steps.done()
            variants.append(made)
            reports.append(file.report(made.score, made.answers.with_original(), perf_counter() - began))
        agreed = agreement([made.answers for made in variants], self.parts.taps)
        tools = {**_tools(), **(self.tools or {})}
        write_bundle(
            self.path,
            task=self.outputs.task,
            classes=self.outputs.names,
            input=self.original.spec,
            cut=self.parts.cut,
            taps=self.parts.taps,
            variants=[made.content for made in variants],
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
            agreed,
        )

    def _embed(self, data: SourceData, embedder: Embedder, latents: SourceLatents, progress: Progress) -> None:
        done = 0
        for frames in data.batches():
            latents.add(embed(embedder, frames))
            done += len(frames)
            progress(done, data.size)


def _tools() -> dict[str, str]:
    found = {"acclimate": __version__}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
