"""What travels in each variant of a bundle: backbone, head, statistics, conformance, tail."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..bundle import Conformance, LinearLayer
from ..bundle_writer import VariantContent
from ..edge.runtime.runtime import Embedder
from ..latent import LatentCode
from ..map_code import MapCode
from .agreement import Answers
from .backbone_file import BackboneFile
from .original import Original, embed
from .parity import Parity
from .source import HeadChoice, drawn
from .source_data import SourceData
from .source_latents import SourceLatents
from .tasks import Outputs, Shipment

if TYPE_CHECKING:
    from .finish import Parts
    from .tail_plan import TailPlan

Float32 = NDArray[np.float32]
# Kernels of other processors round differently: on EfficientNet-Lite0 they moved 8-bit latents by up to .023.
QUANTIZED_TOLERANCE, FLOAT_TOLERANCE = 0.05, 1e-3


@dataclass(frozen=True, eq=False)
class Made:
    """What was made for one variant.

    Args:
        content: What travels in it.
        score: How well the shipped head does on the source; None without either.
        answers: What it says of the samples that parity is measured on.
        maps: Its maps against the original's; None without a tail.
    """

    content: VariantContent
    score: float | None
    answers: Answers
    maps: Parity | None


@dataclass(frozen=True, eq=False)
class Contents:
    """Makes what travels in each variant. For the fields see `finish.Finish`."""

    original: Original
    probes: NDArray[np.generic]
    parts: "Parts"
    outputs: Outputs
    head: HeadChoice | None
    plan: "TailPlan | None"

    @property
    def kept(self) -> LinearLayer | None:
        """The model's own head on the whole latent, where it is kept."""
        return LinearLayer(self.parts.padded_weight(), self.parts.bias) if self.head == "keep" else None

    def make(
        self,
        file: BackboneFile,
        embedder: Embedder,
        data: SourceData | None = None,
        source: SourceLatents | None = None,
    ) -> Made:
        """Make what travels with one backbone.

        Args:
            file: The backbone.
            embedder: The same, loaded.
            data: The source samples, or None.
            source: Their latents, or None.
        """
        latents, kept = embed(embedder, self.original.samples), self.kept
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
            drawn_maps = _maps(embedder, map_code, data)
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
        answers = Answers.of(
            file.runtime, not file.quantized, latents, self.original.latents, shipment.head, code, self.outputs.task
        )
        return Made(content, shipment.score, answers, maps)


def _maps(embedder: Embedder, code: MapCode, data: SourceData | None) -> Iterator[Float32]:
    """Yield the maps of some of the source as a device stores them: they are what a tail trains on."""
    from .tail_fisher import MOST_GRADIENTS

    if data is None:
        return
    rows = np.sort(np.random.default_rng(0).permutation(data.size)[:MOST_GRADIENTS])
    for frames in data.batches(rows):
        yield code.decode(code.encode(embedder.embed_with_maps(frames)[1]))
