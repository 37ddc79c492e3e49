"""What a bundle with a tail needs beside its backbone: cut, compiled training, and the weights to start from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..bundle import LinearLayer
from ..errors import InputError, ParityError
from ..latent import LatentCode
from ..manifest import RUNTIMES, Runtime, TailCut, Task
from ..map_code import MapCode
from ..tail_content import TailContent
from .finish import Parts
from .mapped import Mapped
from .parity import Parity
from .source import HeadChoice, Labelled, fit_head
from .splitting.backbone import BackboneWithMap
from .splitting.split import Split, Taps
from .splitting.tail import Tail, split_tail
from .tail_fisher import fisher_diagonals, folded_tail, logits_of
from .tail_report import TailReport
from .tail_tflite import TfliteTail, as_tflite
from .training import CompiledTail, compile_training
from .training.objective import Penalty
from .training.optimiser import Optimiser

Float32 = NDArray[np.float32]
Train = Literal["all"] | Sequence[str]
USUAL = {"optimiser": "sgd", "penalty": "l2sp"}
_WITHOUT = "the tflite variant has no tail, and there only heads adapt: {}."
_MORE = "the maps of the {} variant agree with the original's with a centred cosine of {:.4f}."
_PARITY = 1e-5


@dataclass(frozen=True, eq=False)
class TailPlan:
    """A tail, compiled.

    Args:
        tail: The tail of the model.
        compiled: Its forward pass and training step, for any number of classes.
        mapped: What gives maps.
        tflite: Both as TFLite, or why there is no such form.
    """

    tail: Tail
    compiled: CompiledTail
    mapped: Mapped
    tflite: TfliteTail | str = "it was not asked for"

    @property
    def cut(self) -> TailCut:
        """What the manifest says of it."""
        return TailCut(self.mapped.cut, self.mapped.shape, self.mapped.axis)

    def report(
        self, parity: Parity, shipped: TailContent, runtimes: Sequence[Runtime], before: TailReport | None = None
    ) -> TailReport:
        """Return what a conversion tells of it.

        Args:
            parity: The variant's maps against the original's.
            shipped: The variant's tail.
            runtimes: Runtimes of all variants.
            before: What was told of another variant's.
        """
        if before is not None:
            more = _MORE.format(shipped.runtime, parity.whole.cosine)
            return replace(before, notes=(*before.notes, more))
        trained = sum(values.size for values in shipped.parameters.values())
        without = (_WITHOUT.format(self.tflite),) if isinstance(self.tflite, str) and "tflite" in runtimes else ()
        spec, notes = self.compiled.spec, self.tail.notes + without
        return TailReport(self.mapped.cut, self.mapped.shape, trained, parity, notes, spec.optimiser, spec.penalty)

    @property
    def takes_fisher(self) -> bool:
        """Whether Fisher information of the source travels with it."""
        return self.compiled.spec.penalty == "ewc"

    def content(
        self,
        code: MapCode,
        head: LinearLayer,
        maps: Iterable[Float32] = (),
        n: int = 0,
        runtime: Runtime = "onnx",
    ) -> TailContent:
        """Return what travels in a variant.

        Args:
            code: Quantization of the maps.
            head: What the tail's head starts from, ``(k, c)`` and ``(k,)``; k may be 0.
            maps: Batches of the source's maps ``(n, *shape)``, where `takes_fisher`.
            n: How many samples the source has.
            runtime: The variant's; one of `mapped.runtimes`.
        """
        spec, parameters = self.compiled.spec, dict(self.compiled.initial)
        parameters |= zip(spec.head, (head.weight, head.bias), strict=False)
        named = tuple(replace(p, shape=parameters[p.name].shape) for p in spec.parameters)
        spec = replace(spec, classes=len(head.weight), parameters=named)
        fisher = None
        if self.takes_fisher:
            captured = folded_tail(self.tail.module, torch.from_numpy(self.mapped.maps[:4]), spec.head)
            fisher = fisher_diagonals(logits_of(captured), parameters, maps, spec.classes, n)
        models = self.tflite if runtime == "tflite" and isinstance(self.tflite, TfliteTail) else self.compiled
        return TailContent(models.forward, models.step, spec, parameters, fisher, code, runtime)


def check_training(
    optimiser: Optimiser, penalty: Penalty, head: HeadChoice | None, *, deeper: bool, with_source: bool
) -> None:
    """Refuse a way of training that cannot be, before any work.

    Args:
        optimiser: See `convert`.
        penalty: See `convert`.
        head: See `convert`.
        deeper: Whether a tail was asked for.
        with_source: Whether there is source data.

    Raises:
        InputError: If the arguments do not fit together.
    """
    for name, value, known in (
        ("optimiser", optimiser, get_args(Optimiser)),
        ("penalty", penalty, get_args(Penalty)),
    ):
        if value not in known:
            raise InputError(f"expected {name} as one of {known}, found {value!r}. By default it is {USUAL[name]!r}.")
        if not deeper and value != USUAL[name]:
            raise InputError(f"expected `{name}` beside a tail, found it without one. Pass last=N or cut=NAME.")
    if penalty == "ewc" and not with_source:
        raise InputError(
            "expected source data for penalty='ewc', whose Fisher information is measured on it, found none. "
            "Pass source=(x, y), or penalty='l2sp'."
        )
    if penalty == "ewc" and head is None:
        raise InputError(
            "expected a shipped head for penalty='ewc', found head=None: without one the source says nothing of what "
            "lies in front of it. Convert with head='keep' or 'fit', or with penalty='l2sp'."
        )


def check_tail_arguments(
    last: int | None, cut: str | None, task: Task, runtimes: Sequence[Runtime], train: Train
) -> None:
    """Refuse what cannot be, before any work.

    Raises:
        InputError: If the arguments do not fit together.
    """
    if last is None and cut is None:
        if train != "all":
            raise InputError("expected `train` beside a tail, found it without one. Pass last=N or cut=NAME.")
        return
    if last is not None and cut is not None:
        raise InputError(f"expected either last or cut, found {last} and {cut!r}. Leave one out.")
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
        raise InputError(f"expected last as a number of blocks from 1, found {last!r}. See `acclimate cuts`.")
    if task != "classification":
        raise InputError(f"expected classification for a tail, found {task!r}. Convert without last and cut.")
    if "onnx" not in runtimes:
        raise InputError(f"expected 'onnx' among the runtimes for a tail, found {list(runtimes)}. Add it.")


def plan_tail(
    model: nn.Module,
    parts: Split,
    preprocess: nn.Module,
    samples: NDArray[Any],
    *,
    cut: str | int,
    taps: Taps,
    train: Train,
    optimiser: Optimiser = "sgd",
    penalty: Penalty = "l2sp",
    runtimes: Sequence[Runtime] = ("onnx",),
) -> TailPlan:
    """Cut a model in front of its last blocks, and compile their training.

    Args:
        model: The model, as `split` took it.
        parts: What `split` made of it.
        preprocess: From raw samples to what the model takes.
        samples: ``(n, ...)`` raw samples for calibration, at least two.
        cut: As for `split_tail`.
        taps: As for `split`.
        train: As for `compile_training`; the head always trains.
        optimiser: Likewise.
        penalty: Likewise.
        runtimes: What the tail is for; ONNX always.

    Returns:
        The tail.

    Raises:
        CutError: If the model cannot be cut there.
        ConversionError: If the tail cannot be trained ahead.
        InputError: If `train` fits nothing.
        ParityError: If the compiled tail does not compute what PyTorch does.
    """
    with torch.no_grad():
        example = preprocess(torch.from_numpy(np.ascontiguousarray(samples[:4])))
    found = split_tail(model, example, cut, taps)
    tail = found.tail
    with_map = BackboneWithMap(parts.backbone, found.backbone.cut)
    with torch.no_grad():
        _same(with_map(example)[1], found.backbone(example)[1])
    module = nn.Sequential()
    module.add_module("preprocess", preprocess)
    module.add_module("backbone", with_map)
    mapped = Mapped.of(module.eval(), tail.cut, tail.axis % (len(tail.map_shape) + 1), samples)
    chosen: Train = train
    if train != "all":
        named = [train] if isinstance(train, str) else list(train)
        chosen = [*named, *(_as_pattern(name) for name in (tail.weight, tail.bias) if name is not None)]
    compiled = compile_training(
        tail.module,
        torch.from_numpy(mapped.maps[:4]),
        train=chosen,
        optimiser=optimiser,
        penalty=penalty,
        head=(tail.weight, tail.bias),
    )
    if "tflite" not in runtimes:
        return TailPlan(tail, compiled, mapped)
    tflite = as_tflite(compiled, mapped.maps[:4])
    return TailPlan(tail, compiled, mapped if isinstance(tflite, str) else replace(mapped, runtimes=RUNTIMES), tflite)


def starting_head(
    choice: HeadChoice | None, parts: Parts, code: LatentCode, source: Labelled | None, k: int
) -> LinearLayer:
    """Return what a tail's head starts from.

    Args:
        choice: What is shipped as head: the model's own, one fitted, here on the last tap, which is what the tail's
            head takes, or none: zeros.
        parts: The model's own head.
        code: Quantization of the latents.
        source: The source's latents, where a head is fitted.
        k: Number of shipped classes.
    """
    if choice == "keep":
        return LinearLayer(parts.weight, parts.bias)
    if choice is None or source is None:
        return LinearLayer(np.zeros((k, parts.taps[-1].width), np.float32), np.zeros(k, np.float32))
    at = slice(parts.taps[-1].offset, None)
    own = LatentCode(code.scale[at], code.offset[at])
    return fit_head(Labelled(source.latents[:, at], source.classes, source.names), own)


def _as_pattern(name: str) -> str:
    return name.replace("[", "[[]")


def _same(found: Tensor, expected: Tensor) -> None:
    off = float((found - expected).abs().max()) / (float(expected.abs().max()) + 1e-12)
    if not off <= _PARITY:
        raise ParityError(
            f"expected the map beside the latent to be the tail's within {_PARITY:g}, found it off by {off:.2g}. "
            f"Look for randomness in the model, or cut elsewhere."
        )
