"""What `acclimate convert` tells people: what a conversion made, and what was taken over from where a model is from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .console import many, output, size, tell

if TYPE_CHECKING:
    from ..converters.agreement import Likeness
    from ..converters.conversion_report import ConversionReport
    from ..converters.sources.load import ModelSource
    from ..server.trained import Trained
    from ..server.trained_input import TrainedInput

_KINDS = {"int8": "int8", "weights": "8-bit weights", "float": "float32"}


def tell_report(report: "ConversionReport", task: str) -> None:
    """Print a conversion for people."""
    output_kind, score = ("target", "R^2 on the data") if task == "regression" else ("class", "accuracy on the data")
    tell(
        f"{report.path.name}: {size(report.size)}, {many(len(report.classes), output_kind)}, {report.width} dimensions "
        f"from {many(len(report.taps), 'tap')}, {report.seconds:.0f} s"
    )
    answers = "difference, in spreads" if task == "regression" else "same answer"
    table = Table("runtime", "type", "size", "cosine with the original", answers, score, box=None, padding=(0, 2))
    for variant in report.variants:
        figure = "" if variant.source_accuracy is None else f"{variant.source_accuracy:.3f}"
        cosine, likeness = f"{variant.parity.whole.cosine:.4f}", _likeness(variant.with_original)
        table.add_row(variant.runtime, _KINDS[variant.kind], size(variant.size), cosine, likeness, figure)
    output.print(table)
    if report.agreement is not None:
        tell(f"onnx and tflite: {report.agreement}")
    if report.budget is not None:
        for line in report.budget.told():
            tell(line)
    if report.tail is not None:
        shape = " x ".join(map(str, report.tail.map_shape))
        tell(
            f"tail behind {report.tail.cut}: {report.tail.trained:,} values train, maps of {shape}, cosine with the "
            f"original {report.tail.parity.whole.cosine:.4f}"
        )
        for note in report.tail.notes:
            tell(f"  {note}")
    for variant in report.variants:
        tell(f"{variant.runtime}: {variant.reason}")
    from ..converters.conversion_warnings import doubts

    for doubt in doubts(report):
        tell(f"warning: {doubt}")


def taken_over(loaded: "ModelSource | Trained | TrainedInput", known: Mapping[str, Any]) -> list[str]:
    """Say what was taken over from where the model comes from."""
    told = [
        f"{name} {_shown(known[name])}" for name in ("resize", "mean", "std") if known[name] not in (None, 0.0, 1.0)
    ]
    own = loaded.known.classes
    if own is not None and known["classes"] is own:
        told.append(f"{len(own)} class names")
    taken = [f"input: {', '.join(told)}"] if told and loaded.known != type(loaded.known)() else []
    return [*taken, *loaded.known.notes]


def _likeness(found: "Likeness | None") -> str:
    if found is None:
        return ""
    return f"{100 * found.same:.1f} %" if found.same is not None else f"{found.apart:.2g}"


def _shown(value: Any) -> str:
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple | list) else f"{value:g}"
