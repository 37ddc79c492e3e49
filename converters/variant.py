"""One backbone for one runtime: export, quantize, compare with the original, and keep what serves best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..edge.runtime.runtime import Embedder
from ..errors import ConversionError, InputError
from ..manifest import Runtime
from .conversion_report import Kind, Measured
from .original import Original, embed, make_float, open_backbone, run_module
from .parity import GOOD_COSINE, MOST_LOST, QUANTIZED_COSINE, Parity, require_quantized
from .quantization.calibration import Calibration
from .quantization.latency import latencies
from .quantization.sensitivity import LayerCost, Quantized, fewest_in_float, layer_costs
from .quantization.trial import Judge, LabelledSamples, Trial, fresh_head_lost

__all__ = [
    "BackboneFile",
    "FloatConvolutions",
    "Original",
    "Quantize",
    "embed",
    "make_float",
    "make_variant",
    "open_backbone",
    "run_module",
]

Progress = Callable[[int, int], None]
FloatConvolutions = int | Literal["auto", "ladder"]
Quantize = bool | Literal["auto", "weights"]
# Rungs of "ladder". The first convolutions see few channels of very different ranges, so often most of the loss is
# theirs.
_RUNGS = (0, 3, 6)
# Slower is what takes a tenth more time, and more than the clock's own unrest.
_SLOWER, _LEAST_SECONDS = 1.1, 2e-4
_STEPS = 20
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


@dataclass(frozen=True)
class Wish:
    """What the caller asks of quantization.

    Args:
        quantize: ``"auto"`` keeps 8 bits unless they are slower than float on this processor, by more than a tenth, or
            lose too much, and then 8-bit weights or float; True insists on 8 bits, ``"weights"`` on 8-bit weights with
            float activations, False on float.
        calibration: How ranges of activations are found (`find_ranges`).
        float_convolutions: What stays in float: ``"auto"`` for the layers that lose the most, the fewest of them (a
            quarter at most) that keep a centred cosine of .99, or of `least_cosine` if that is more, and the accuracy;
            ``"ladder"`` for the first 0, 3 or 6 convolutions; a number for so many of the first.
        least_cosine: Least mean of the centred cosine between quantized latents and the original's.
        most_lost: Percentage points of accuracy that a fresh head on quantized latents may lose.
        every_layer: Measure what each layer costs even where all can be in 8 bits.
    """

    quantize: Quantize = "auto"
    calibration: Calibration = "minmax"
    float_convolutions: FloatConvolutions = "auto"
    least_cosine: float = QUANTIZED_COSINE
    most_lost: float = MOST_LOST
    every_layer: bool = False


def check_wish(wish: Wish) -> None:
    """Refuse what nothing can fulfil, before any work.

    Raises:
        InputError: If an argument is none of those that are known.
    """
    from .quantization.calibration import check_method

    check_method(wish.calibration)
    if not (isinstance(wish.quantize, bool) or wish.quantize in ("auto", "weights")):
        raise InputError(f"expected quantize 'auto', True, False or 'weights', found {wish.quantize!r}.")
    kept = wish.float_convolutions
    if kept not in ("auto", "ladder") and (isinstance(kept, str | bool) or kept < 0):
        raise InputError(f"expected float_convolutions 'auto', 'ladder' or a number from 0, found {kept!r}.")
    if not -1 <= wish.least_cosine <= 1:
        raise InputError(f"expected a least cosine from -1 to 1, found {wish.least_cosine!r}. 0.9 is usual.")
    if not 0 <= wish.most_lost <= 100:
        raise InputError(f"expected 0 to 100 points of accuracy that may be lost, found {wish.most_lost!r}.")


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
    search = _Search(quantized, judge, wish, lambda done, total: report(8 + 10 * done // total, _STEPS))
    kept, trial = search.run(settled)
    trial = judge.with_head(trial)
    labels = dict(zip(quantized.layers, quantized.labels, strict=True))
    int8 = replace(
        as_float,
        layers=tuple(LayerCost(labels[one.name], one.lost, one.name in kept) for one in search.known(kept)),
        kept=tuple(i for i, name in enumerate(quantized.layers) if name in kept),
        float_convolutions=len(kept) if wish.float_convolutions != "auto" else 0,
    )
    if wish.quantize is True:
        _require(trial, runtime, wish)
        return _kept(int8, "int8", trial, "8 bits were asked for.", {"int8": trial}, judge)
    result = _better(int8, trial, judge, wish)
    report(_STEPS, _STEPS)
    return result


def quantize_weights(runtime: Runtime, content: bytes) -> bytes:
    """Return a float file with its weights in 8 bits."""
    if runtime == "onnx":
        from .quantization.weights_onnx import quantize_weights_onnx

        return quantize_weights_onnx(content)
    from .quantization.tflite import quantize_weights_tflite

    return quantize_weights_tflite(content)


class _Search:
    """Looks for the layers that have to stay in float."""

    def __init__(self, quantized: Quantized, judge: Judge, wish: Wish, progress: Progress) -> None:
        self._quantized, self._judge, self._wish, self._progress = quantized, judge, wish, progress
        self._costs: tuple[LayerCost, ...] = ()
        self._best: tuple[tuple[str, ...], Trial] | None = None

    def run(self, settled: Sequence[int]) -> tuple[tuple[str, ...], Trial]:
        """Return the layers to keep in float, and the model with them in float."""
        asked = self._wish.float_convolutions
        names, convolutions = self._quantized.layers, self._quantized.convolutions
        if asked == "ladder":
            ladder = [tuple(convolutions[:rung]) for rung in _RUNGS if 4 * rung <= len(convolutions)]
            next((kept for kept in ladder if self._good(kept)), None)
        elif asked != "auto":
            self._good(tuple(convolutions[:asked]))
        else:
            elsewhere = tuple(names[i] for i in settled if i < len(names))
            enough = self._good(elsewhere)
            if self._wish.every_layer or not enough:
                self._measure()
            if not enough:
                fewest_in_float(self._costs, self._good)
        assert self._best is not None  # noqa: S101  something was tried
        return self._best

    def known(self, kept: Sequence[str]) -> tuple[LayerCost, ...]:
        """Return what is known of the layers: all costs, or the names of those in float without."""
        unknown = float("nan")
        return self._costs or tuple(LayerCost(name, unknown) for name in self._quantized.layers if name in kept)

    def _measure(self) -> None:
        self._costs = layer_costs(self._quantized, self._judge.quick_cosine, self._progress)

    def _good(self, kept: Sequence[str]) -> bool:
        trial = self._judge.trial(self._quantized.content(kept))
        good = trial.parity.whole.cosine >= max(GOOD_COSINE, self._wish.least_cosine)
        if good:
            trial = self._judge.with_head(trial)
            good = trial.head is None or trial.head.within(self._wish.most_lost)
        if self._best is None or good or trial.parity.whole.cosine > self._best[1].parity.whole.cosine:
            self._best = tuple(kept), trial
        return good


def _better(int8: BackboneFile, trial: Trial, judge: Judge, wish: Wish) -> BackboneFile:
    """Return the better of 8 bits and float, and 8-bit weights where 8 bits are not."""
    tried: dict[Kind, Trial] = {"float": judge.with_head(int8.trial), "int8": trial}
    seconds = _seconds(int8, tried, judge)
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
        return _kept(int8, "int8", trial, reason, tried, judge, seconds)
    found = "; ".join(objections)
    content = int8.content
    weights = judge.with_head(judge.trial(quantize_weights(int8.runtime, content)))
    tried["weights"] = weights
    seconds = _seconds(int8, tried, judge)
    against = _objections(weights, wish)
    if _slower(seconds["weights"], seconds["float"]):
        against.append(f"take {1e3 * seconds['weights']:.2f} ms where float takes {1e3 * seconds['float']:.2f} ms")
    if against:
        reason = f"float, since 8 bits do not serve: {found}. Nor do 8-bit weights: {'; '.join(against)}."
        return _kept(int8, "float", tried["float"], reason, tried, judge, seconds)
    reason = f"8-bit weights with float activations, since 8 bits do not serve: {found}."
    return _kept(int8, "weights", weights, reason, tried, judge, seconds)


def _kept(
    file: BackboneFile,
    kind: Kind,
    trial: Trial,
    reason: str,
    tried: dict[Kind, Trial],
    judge: Judge,
    seconds: dict[Kind, float] | None = None,
) -> BackboneFile:
    whole: dict[Kind, Trial] = {"float": judge.with_head(file.trial), **tried}
    return replace(
        file,
        kind=kind,
        trial=trial,
        reason=reason,
        kept=file.kept if kind == "int8" else (),
        seconds=tuple((seconds if seconds is not None else _seconds(file, whole, judge)).items()),
        tried=tuple((name, one) for name, one in whole.items() if name != kind),
    )


def _seconds(file: BackboneFile, tried: dict[Kind, Trial], judge: Judge) -> dict[Kind, float]:
    loaded: dict[str, Embedder] = {
        kind: open_backbone(one.content, file.runtime, judge.original, 1) for kind, one in tried.items()
    }
    found = latencies(loaded, judge.original.samples[:1])
    return {kind: found[kind] for kind in tried}


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

        return prepare_onnx(content, original.samples, method=calibration)
    from .quantization.tflite import prepare_tflite

    return prepare_tflite(content, original.samples, method=calibration)
