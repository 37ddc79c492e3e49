"""One backbone for one runtime, with what was found out about it."""

from dataclasses import dataclass

from ..manifest import Runtime
from .agreement import Likeness
from .conversion_report import Kind, Measured, VariantReport
from .parity import Parity
from .quantization.sensitivity import LayerCost
from .quantization.trial import Trial

_KINDS: tuple[Kind, ...] = ("float", "int8", "weights")


@dataclass(frozen=True)
class BackboneFile:
    """A converted backbone.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        kind: ``"int8"``: weights and activations are integers; ``"weights"``: weights only; ``"float"``.
        trial: The file with its parity.
        float_parity: The float export against the original.
        reason: Why this kind, in words.
        layers: What each layer costs in 8 bits, where that was measured.
        kept: Places, among the layers, of those that stayed in float.
        float_convolutions: How many of the first convolutions stayed in float because the caller said so.
        seconds: Median seconds for one sample with one thread, by kind; empty where nothing was compared.
        tried: What was tried and is not kept, by kind.
    """

    runtime: Runtime
    kind: Kind
    trial: Trial
    float_parity: Parity
    reason: str
    layers: tuple[LayerCost, ...] = ()
    kept: tuple[int, ...] = ()
    float_convolutions: int = 0
    seconds: tuple[tuple[Kind, float], ...] = ()
    tried: tuple[tuple[Kind, Trial], ...] = ()

    @property
    def content(self) -> bytes:
        """The file."""
        return self.trial.content

    @property
    def quantized(self) -> bool:
        """Whether its weights are integers."""
        return self.kind != "float"

    def measured(self) -> tuple[Measured, ...]:
        """Return every kind that was tried, float first."""
        trials, seconds = {**dict(self.tried), self.kind: self.trial}, dict(self.seconds)
        return tuple(
            Measured(
                kind,
                len(trials[kind].content),
                seconds.get(kind),
                trials[kind].parity,
                trials[kind].head,
                trials[kind].own,
            )
            for kind in _KINDS
            if kind in trials
        )

    @property
    def parity(self) -> Parity:
        """The file against the original."""
        return self.trial.parity

    def report(self, score: float | None, likeness: Likeness | None, seconds: float) -> VariantReport:
        """Return what became of it.

        Args:
            score: How well the shipped head does on the source; None without either.
            likeness: How alike variant and original answer; None without a head.
            seconds: Wall time that it took.
        """
        return VariantReport(
            self.runtime,
            self.quantized,
            len(self.content),
            self.float_convolutions,
            self.float_parity,
            self.parity,
            score,
            seconds,
            self.kind,
            self.reason,
            self.layers,
            self.measured(),
            likeness,
        )
