"""What a bundle with a tail needs beside its backbone: cut, compiled training, and the weights to start from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..bundle import LinearLayer
from ..errors import ConversionError, ParityError
from ..latent import LatentCode
from ..manifest import Runtime, TailCut
from ..map_code import MapCode
from ..tail_content import TailContent
from .finish import Parts
from .mapped import Mapped
from .parity import Parity
from .source import HeadChoice, Labelled, fit_head
from .splitting.backbone import BackboneWithMap
from .splitting.split import Split, Taps
from .splitting.tail import split_tail
from .tail_arguments import Train
from .tail_fisher import fisher_diagonals, folded_tail, logits_of
from .tail_report import TailReport
from .tail_tflite import TfliteTail, as_tflite
from .tail_workspace import workspace
from .tap_pooling import Pooling
from .training import CompiledTail, compile_training
from .training.objective import Penalty
from .training.optimiser import Optimiser

Float32 = NDArray[np.float32]
_WITHOUT = "the tflite variant has no tail, and there only heads adapt: {}."
_MORE = "the maps of the {} variant agree with the original's with a centred cosine of {:.4f}."
_PARITY = 1e-5


class Trainable(Protocol):
    """A tail that can be differentiated: of a torch model (`splitting.tail.Tail`), or of an ONNX network."""

    @property
    def module(self) -> nn.Module:
        """From maps to logits."""

    @property
    def weight(self) -> str:
        """Name of the head's weight ``(k, c)``."""

    @property
    def bias(self) -> str | None:
        """Name of the head's bias ``(k,)``, or None."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about training it, in words."""


@dataclass(frozen=True, eq=False)
class TailPlan:
    """A tail, compiled.

    Args:
        tail: The tail of the model, or of an ONNX network.
        compiled: Its forward pass and training step, for any number of classes.
        mapped: What gives maps.
        tflite: Both as TFLite, or why there is no such form.
    """

    tail: Trainable
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
        classes = len(head.weight)
        working = sum(workspace(model, max(classes, 1)) for model in (self.compiled.forward, self.compiled.step))
        spec = replace(spec, classes=classes, parameters=named, working=working)
        fisher = None
        if self.takes_fisher:
            captured = folded_tail(self.tail.module, torch.from_numpy(self.mapped.maps[:4]), spec.head)
            fisher = fisher_diagonals(logits_of(captured), parameters, maps, spec.classes, n)
        models = self.tflite if runtime == "tflite" and isinstance(self.tflite, TfliteTail) else self.compiled
        return TailContent(models.forward, models.step, spec, parameters, fisher, code, runtime)


def plan_tail(
    model: nn.Module,
    parts: Split,
    preprocess: nn.Module,
    samples: NDArray[Any],
    *,
    cut: str | int,
    taps: Taps,
    pooling: Pooling = "mean",
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
        pooling: Likewise.
        train: As for `compile_training`; the head always trains.
        optimiser: Likewise.
        penalty: Likewise.
        runtimes: What the tail is for.

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
    found = split_tail(model, example, cut, taps, pooling)
    tail = found.tail
    with_map = BackboneWithMap(parts.backbone, found.backbone.cut)
    with torch.no_grad():
        _same(with_map(example)[1], found.backbone(example)[1])
    module = nn.Sequential()
    module.add_module("preprocess", preprocess)
    module.add_module("backbone", with_map)
    mapped = Mapped.of(module.eval(), tail.cut, tail.axis % (len(tail.map_shape) + 1), samples)
    return compile_plan(tail, mapped, train=train, optimiser=optimiser, penalty=penalty, runtimes=runtimes)


def compile_plan(
    tail: Trainable,
    mapped: Mapped,
    *,
    train: Train,
    optimiser: Optimiser = "sgd",
    penalty: Penalty = "l2sp",
    runtimes: Sequence[Runtime] = ("onnx",),
) -> TailPlan:
    """Compile the training of a tail.

    Args:
        tail: The tail.
        mapped: What gives its maps.
        train: As for `plan_tail`.
        optimiser: Likewise.
        penalty: Likewise.
        runtimes: Likewise.

    Returns:
        The tail, compiled. Errors are those of `compile_training`.
    """
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
    if isinstance(tflite, str):
        if "onnx" not in runtimes:
            raise ConversionError(
                f"expected a tail that LiteRT can train, found that {tflite}. Cut elsewhere (`acclimate cuts`), leave "
                f"out last and cut, or add 'onnx' to the runtimes: that variant then has the tail."
            )
        return TailPlan(tail, compiled, mapped, tflite)
    return TailPlan(tail, compiled, replace(mapped, runtimes=tuple(runtimes)), tflite)


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
