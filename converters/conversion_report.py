"""What a conversion tells of itself."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..manifest import Runtime, Tap
from .parity import Parity


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
    """

    runtime: Runtime
    quantized: bool
    size: int
    float_convolutions: int
    float_parity: Parity
    parity: Parity
    source_accuracy: float | None
    seconds: float


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
    """

    path: Path
    size: int
    classes: tuple[str, ...]
    taps: tuple[Tap, ...]
    variants: tuple[VariantReport, ...]
    seconds: float

    @property
    def width(self) -> int:
        """Number of dimensions of the latent."""
        return self.taps[-1].offset + self.taps[-1].width

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {**asdict(self), "path": str(self.path), "width": self.width}
