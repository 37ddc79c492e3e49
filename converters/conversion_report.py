"""What a conversion tells of itself."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..manifest import Runtime, Tap, Task
from .agreement import Agreement, Likeness
from .parity import Parity
from .quantization.fresh_head import HeadAccuracy
from .quantization.sensitivity import LayerCost
from .tail_report import TailReport
from .tap_budget import TapBudget

Kind = Literal["int8", "weights", "float"]


@dataclass(frozen=True)
class Measured:
    """One kind of one runtime's backbone.

    Args:
        kind: ``"int8"`` for weights and activations, ``"weights"`` for weights in 8 bits alone, ``"float"``.
        size: Size of the file in bytes.
        seconds: Median of the seconds for one sample with one thread, all kinds in turn; None where not measured.
        parity: Its latents against the original's.
        head: What a head that is fitted on its latents loses against one on float latents; None without labels.
        own: Share of the same samples that the model's own last layer classifies right; None where it is not kept.
    """

    kind: Kind
    size: int
    seconds: float | None
    parity: Parity
    head: HeadAccuracy | None
    own: float | None = None


@dataclass(frozen=True)
class VariantReport:
    """What became of one runtime's backbone.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        quantized: Whether its weights are integers.
        size: Size of the file in bytes.
        float_convolutions: How many of the first convolutions stayed in float.
        float_parity: The float export against the original.
        parity: The shipped backbone against the original.
        source_accuracy: Share of the source samples that the shipped head classifies right, for
            regression the mean R^2; None without either.
        seconds: Wall time that it took.
        kind: Which kind was kept: one of those in `measured`.
        reason: Why, in words.
        layers: What the layers cost in 8 bits where that was measured, and which of them stayed in float.
        measured: Every kind that was tried, the kept one among them.
        with_original: How alike variant and original answer, by the shipped head; None without a head.
    """

    runtime: Runtime
    quantized: bool
    size: int
    float_convolutions: int
    float_parity: Parity
    parity: Parity
    source_accuracy: float | None
    seconds: float
    kind: Kind = "float"
    reason: str = ""
    layers: tuple[LayerCost, ...] = ()
    measured: tuple[Measured, ...] = ()
    with_original: Likeness | None = None

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the layers of an 8-bit backbone that stayed in float."""
        return tuple(layer.name for layer in self.layers if layer.kept) if self.kind == "int8" else ()


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion made.

    Args:
        path: The bundle.
        size: Its size in bytes.
        classes: Names of the shipped classes, or of the targets.
        taps: What the latent consists of.
        variants: One per runtime.
        seconds: Wall time of the whole.
        tools: Names and versions of what it was made with.
        tail: The trainable tail; None without one.
        budget: Which taps were kept for a budget of latent bytes; None without one.
        task: ``"classification"`` or ``"regression"``.
        keeps_head: Whether the shipped head is the model's own.
        samples: Number of source samples; 0 without.
        agreement: How alike the variants for the two runtimes answer; None where there is one alone.
    """

    path: Path
    size: int
    classes: tuple[str, ...]
    taps: tuple[Tap, ...]
    variants: tuple[VariantReport, ...]
    seconds: float
    tools: tuple[tuple[str, str], ...] = ()
    tail: TailReport | None = None
    budget: TapBudget | None = None
    task: Task = "classification"
    keeps_head: bool = False
    samples: int = 0
    agreement: Agreement | None = None

    @property
    def width(self) -> int:
        """Number of dimensions of the latent."""
        return self.taps[-1].offset + self.taps[-1].width

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        from .conversion_warnings import warnings

        plain: dict[str, Any] = {**asdict(self), "path": str(self.path), "width": self.width}
        plain["warnings"] = list(warnings(self))
        if self.budget is not None and not self.budget.samples:
            plain["budget"] |= {"accuracy": None, "loss": None}
        for variant in plain["variants"]:
            for layer in variant["layers"]:
                # A cost that was not measured: JSON has no NaN.
                layer["lost"] = None if math.isnan(layer["lost"]) else layer["lost"]
        return plain

    def save_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the report as one HTML page that refers to nothing outside of itself.

        Args:
            path: Where to write.
            overwrite: Replace a file that is there.

        Raises:
            OutputExistsError: If the file is there and `overwrite` is false.
        """
        from .conversion_page import write_page

        write_page(Path(path), self, overwrite=overwrite)
