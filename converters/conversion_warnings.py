"""What of a conversion its user should look at."""

from collections.abc import Iterator
from math import sqrt

from .conversion_report import ConversionReport, VariantReport

RUNTIME_NAMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
# A head of the model's own that is this much worse than a fresh one is not what its user means it to be.
_WIDE = 0.2
_ASK = "Are the classes named in the order of the model's outputs, and mean and std those it was trained with?"
_ONE_RUNTIME = "Let a device stay with one runtime, or convert with --no-quantize (quantize=False)."


def warnings(report: ConversionReport) -> Iterator[str]:
    """Yield what a user should know, the worst first."""
    yield from doubts(report)
    for variant in report.variants:
        name = RUNTIME_NAMES[variant.runtime]
        if variant.kind != "int8":
            yield f"{name}: not in 8 bits throughout. {variant.reason}"
        worst = min(variant.parity.taps, key=lambda tap: variant.parity.taps[tap].cosine)
        cosine = variant.parity.taps[worst].cosine
        if cosine < 0.95:
            yield f"{name}: the tap {worst} keeps a centred cosine of {cosine:.3f} only."
        for one in variant.measured:
            if one.kind == variant.kind and one.head is not None and one.head.lost > 0.5:
                yield f"{name}: a fresh head lost {one.head.lost:.1f} points (standard error {one.head.error:.1f})."
    if report.tail is not None:
        for note in report.tail.notes:
            yield f"tail: {note}"


def doubts(report: ConversionReport) -> Iterator[str]:
    """Yield what speaks against the bundle as it is: of a head that is kept, and of answers that differ."""
    yield from head_doubts(report)
    yield from answer_doubts(report)


def answer_doubts(report: ConversionReport) -> Iterator[str]:
    """Yield where a device answers otherwise than the original, or with one runtime otherwise than with the other."""
    for variant in report.variants:
        if variant.with_original is not None and variant.with_original.doubtful:
            yield (
                f"{RUNTIME_NAMES[variant.runtime]}: compared with the original's latents, the shipped head gives "
                f"{variant.with_original}."
            )
    if report.agreement is not None and report.agreement.doubtful:
        yield f"ONNX Runtime and LiteRT answer differently: {report.agreement}. {_ONE_RUNTIME}"


def head_doubts(report: ConversionReport) -> Iterator[str]:
    """Yield, for each runtime, why the model's own head may not be what its user means it to be."""
    if report.task != "classification" or not report.keeps_head:
        return
    for variant in report.variants:
        against = _beaten(variant) or _guessing(variant, len(report.classes), report.samples)
        if against is not None:
            yield f"{RUNTIME_NAMES[variant.runtime]}: the model's own head gets {against}. {_ASK}"


def _beaten(variant: VariantReport) -> str | None:
    """Say that a fresh head does much better on the same latents, by more than chance."""
    for one in variant.measured:
        if one.kind == variant.kind and one.head is not None and one.own is not None:
            fresh, n = one.head.accuracy, one.head.samples
            error = sqrt((fresh * (1 - fresh) + one.own * (1 - one.own)) / n)
            if fresh - one.own > max(_WIDE, 2 * error):
                return (
                    f"{100 * one.own:.0f} % of {n:,} source samples right, a fresh head on the same latents "
                    f"{100 * fresh:.0f} %"
                )
    return None


def _guessing(variant: VariantReport, classes: int, samples: int) -> str | None:
    """Say that the head does no better than chance: 1/k, and two standard errors."""
    if variant.source_accuracy is None or not classes or not samples:
        return None
    chance = 1 / classes
    if variant.source_accuracy > chance + 2 * sqrt(chance * (1 - chance) / samples):
        return None
    return (
        f"{100 * variant.source_accuracy:.0f} % of {samples:,} source samples right, no more than guessing among "
        f"{classes:,} classes may"
    )
