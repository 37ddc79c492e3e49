"""One backbone for one runtime: export, quantize, compare with the original, and keep what serves best."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import ConversionError
from ..manifest import Runtime
from .backbone_file import BackboneFile
from .conversion_report import Kind
from .original import Original, make_float
from .parity import require_quantized
from .quantization.calibration import Calibration
from .quantization.search import Search
from .quantization.sensitivity import LayerCost, Quantized
from .quantization.trial import Judge, LabelledSamples, Trial, fresh_head_lost
from .quantization.wish import Wish, check_wish

Progress = Callable[[int, int], None]
# Slower is what takes a tenth more time, and more than the clock's own unrest.
_SLOWER, _LEAST_SECONDS = 1.1, 2e-4
_STEPS = 20


def make_variant(
    runtime: Runtime,
    original: Original,
    wish: Wish | None = None,
    *,
    labelled: LabelledSamples | None = None,
    settled: Sequence[int] = (),
    progress: Progress | None = None,
) -> BackboneFile:
    """Convert for one runtime.

    Args:
        runtime: ``"onnx"`` or ``"tflite"``.
        original: What is converted.
        wish: What is asked of quantization.
        labelled: Labelled raw samples, to judge a fresh head on the latents.
        settled: Places of layers that another runtime's conversion kept in float: tried first.
        progress: Called with the number of steps done and of all.

    Returns:
        The converted backbone.

    Raises:
        ConversionError: If it cannot be converted.
        ParityError: If it lost too much, and the caller insists.
    """
    wish = wish if wish is not None else Wish()
    check_wish(wish)
    report = progress if progress is not None else lambda done, total: None
    content, float_parity = make_float(runtime, original)
    report(4, _STEPS)
    judge = Judge(runtime, original, labelled, content)
    as_float = BackboneFile(runtime, "float", Trial(content, float_parity, None), float_parity, "float was asked for.")
    if getattr(original.module, "quantized", False):
        return replace(as_float, kind="int8", reason="the file came in 8 bits, and stays as it is.")
    if wish.quantize is False:
        return as_float
    if wish.quantize == "weights":
        trial = judge.with_head(judge.trial(quantize_weights(runtime, content)))
        _require(trial, runtime, wish)
        return _kept(as_float, "weights", trial, "8-bit weights were asked for.", {"weights": trial}, judge)
    try:
        quantized = _prepare(runtime, content, original, wish.calibration)
    except ConversionError as error:
        if wish.quantize is True:
            raise
        return replace(as_float, reason=f"float: there are no 8 bits of this model to compare. {error}")
    report(8, _STEPS)
    found = Search(quantized, judge, wish, lambda done, total: report(8 + 10 * done // total, _STEPS)).run(settled)
    trial = judge.with_head(found.trial)
    labels = dict(zip(quantized.layers, quantized.labels, strict=True))
    int8 = replace(
        as_float,
        layers=tuple(LayerCost(labels[one.name], one.lost, one.name in found.kept) for one in found.costs),
        kept=tuple(i for i, name in enumerate(quantized.layers) if name in found.kept),
        float_convolutions=len(found.kept) if wish.float_convolutions != "auto" else 0,
    )
    if wish.quantize is True:
        _require(trial, runtime, wish)
        reason = f"8 bits were asked for. {found.note}".rstrip()
        return _kept(int8, "int8", trial, reason, {"int8": trial}, judge)
    result = _better(int8, trial, judge, wish, found.note)
    report(_STEPS, _STEPS)
    return result


def quantize_weights(runtime: Runtime, content: bytes) -> bytes:
    """Return a float file with its weights in 8 bits."""
    if runtime == "onnx":
        from .quantization.weights_onnx import quantize_weights_onnx

        return quantize_weights_onnx(content)
    from .quantization.tflite import quantize_weights_tflite

    return quantize_weights_tflite(content)


def _better(int8: BackboneFile, trial: Trial, judge: Judge, wish: Wish, note: str) -> BackboneFile:
    """Return the better of 8 bits and float, and 8-bit weights where 8 bits are not."""
    tried: dict[Kind, Trial] = {"float": judge.with_head(int8.trial), "int8": trial}
    seconds = judge.seconds({kind: one.content for kind, one in tried.items()})
    objections = _objections(trial, wish)
    if _slower(seconds["int8"], seconds["float"]):
        objections.append(
            f"they take {1e3 * seconds['int8']:.2f} ms for one sample on this processor, where float takes "
            f"{1e3 * seconds['float']:.2f} ms"
        )
    if not objections:
        gain = seconds["float"] / seconds["int8"]
        reason = f"8 bits: {gain:.1f} x as fast as float on this processor, with a centred cosine of "
        reason += f"{trial.parity.whole.cosine:.4f}{fresh_head_lost(trial.head)}."
        if gain < 1:
            reason += f" Up to {1e3 * _LEAST_SECONDS:g} ms or a tenth more counts for nothing beside the smaller file."
        return _kept(int8, "int8", trial, f"{reason} {note}".rstrip(), tried, judge)
    found = "; ".join(objections)
    content = int8.content
    weights = judge.with_head(judge.trial(quantize_weights(int8.runtime, content)))
    tried["weights"] = weights
    seconds |= judge.seconds({"weights": weights.content})
    against = _objections(weights, wish)
    if _slower(seconds["weights"], seconds["float"]):
        against.append(f"take {1e3 * seconds['weights']:.2f} ms where float takes {1e3 * seconds['float']:.2f} ms")
    if against:
        reason = f"float, since 8 bits do not serve: {found}. Nor do 8-bit weights: {'; '.join(against)}."
        return _kept(int8, "float", tried["float"], reason, tried, judge)
    reason = f"8-bit weights with float activations, since 8 bits do not serve: {found}."
    return _kept(int8, "weights", weights, reason, tried, judge)


def _kept(
    file: BackboneFile,
    kind: Kind,
    trial: Trial,
    reason: str,
    tried: dict[Kind, Trial],
    judge: Judge,
) -> BackboneFile:
    whole: dict[Kind, Trial] = {"float": judge.with_head(file.trial), **tried}
    seconds = judge.seconds({name: one.content for name, one in whole.items()})
    return replace(
        file,
        kind=kind,
        trial=trial,
        reason=reason,
        kept=file.kept if kind == "int8" else (),
        seconds=tuple(seconds.items()),
        tried=tuple((name, one) for name, one in whole.items() if name != kind),
    )


def _slower(seconds: float, than: float) -> bool:
    return seconds > _SLOWER * than and seconds - than > _LEAST_SECONDS


def _objections(trial: Trial, wish: Wish) -> list[str]:
    found = []
    if not trial.parity.whole.cosine >= wish.least_cosine:
        found.append(
            f"their centred cosine is {trial.parity.whole.cosine:.4f}, where {wish.least_cosine:g} was asked for"
        )
    if trial.head is not None and not trial.head.within(wish.most_lost):
        found.append(
            f"a fresh head loses {trial.head.lost:.1f} points of accuracy (standard error {trial.head.error:.1f}), "
            f"where {wish.most_lost:g} may be lost"
        )
    return found


def _require(trial: Trial, runtime: Runtime, wish: Wish) -> None:
    require_quantized(trial.parity, runtime, wish.least_cosine, trial.head, wish.most_lost)


def _prepare(runtime: Runtime, content: bytes, original: Original, calibration: Calibration) -> Quantized:
    if runtime == "onnx":
        from .quantization.onnx import prepare_onnx

        return prepare_onnx(content, original.samples, method=calibration, trained=original.trained)
    from .quantization.tflite import prepare_tflite

    return prepare_tflite(content, original.samples, method=calibration, trained=original.trained)
