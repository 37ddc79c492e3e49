"""Compile the training of a tail ahead: two ONNX models that a device runs with its inference runtime."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import ConversionError, InputError
from ...tail_spec import Parameter, Spec
from ..splitting.soundness import check_sample
from .capture import Captured, capture
from .check import Difference, check
from .classes import free_classes, loosen, with_classes
from .differentiate import Plan, differentiate, forward
from .fold import fold
from .objective import Penalty
from .onnx_emit import emit
from .optimiser import STATE, Optimiser

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CompiledTail:
    """A tail that a device can run and train.

    Args:
        forward: ONNX model from maps and parameters to logits.
        step: ONNX model of one training step.
        spec: What both take and give.
        initial: ``float32`` values of the parameters by name, as shipped; also the reference of a penalty.
        difference: How far both are from PyTorch in double precision, on the sample.
    """

    forward: bytes
    step: bytes
    spec: Spec
    initial: Mapping[str, Float32]
    difference: Difference


def compile_training(
    tail: nn.Module,
    maps: Tensor,
    *,
    train: Literal["all"] | Sequence[str] = "all",
    optimiser: Optimiser = "sgd",
    penalty: Penalty = "l2sp",
    backbone: nn.Module | None = None,
    head: tuple[str, str | None] | None = None,
) -> CompiledTail:
    """Compile a tail's forward pass and its training step.

    Frozen BatchNorm is folded into the layer in front of it, whose weight and bias then train under their own names; a
    BatchNorm elsewhere keeps its statistics. Everything runs as in evaluation mode.

    Args:
        tail: What follows the cut; from maps to logits. It is not changed.
        maps: ``(n, ...) float32`` feature maps at the cut, at least two different samples.
        train: Which parameters train: ``"all"``, or names and patterns such as ``"layer4.1.*"``; the rest is frozen.
        optimiser: ``"sgd"`` with momentum, or ``"adam"`` with decoupled weight decay.
        penalty: ``"l2sp"`` or ``"ewc"`` around the shipped weights, or ``"none"``.
        backbone: What lies in front of the cut; a tail that shares weights with it is refused.
        head: Names of the head's weight ``(k, c)`` and bias ``(k,)``, which then must train: both models take any
            number ``k`` of classes. By default it is the tail's own.

    Returns:
        The models, what they take and give, and the shipped weights.

    Raises:
        InputError: If the maps or a name are not what was asked for.
        ConversionError: If the tail cannot be compiled; the message names the module and says what would help.
        ParityError: If the result does not compute what PyTorch does.
    """
    if optimiser not in get_args(Optimiser) or penalty not in get_args(Penalty):
        raise InputError(
            f"expected an optimiser of {get_args(Optimiser)} and a penalty of {get_args(Penalty)}, "
            f"found {optimiser!r} and {penalty!r}."
        )
    maps = check_sample(maps)
    captured = fold(capture(tail, maps, backbone))
    plan = Plan(_choose(captured, train), optimiser, penalty)
    weight, bias = head if head is not None else (None, None)
    rows = tuple(name for name in (weight, bias) if name is not None)
    if not set(rows) <= set(plan.train):
        raise InputError(
            f"expected the head {rows} among what trains, found {list(plan.train)[:20]}. Add it to `train`."
        )
    inference = forward(captured, plan, maps)
    classes = int(inference.graph.output_node().args[0][0].meta["val"].shape[1])  # type: ignore[index, union-attr]
    if not rows:
        ahead, training = emit(inference, "tail"), emit(differentiate(captured, plan, maps, classes), "training_step")
    else:
        loosen(captured, rows, classes)
        ahead = free_classes(captured, rows, lambda other, k: emit(forward(other, plan, maps), "tail"))
        training = free_classes(
            captured, rows, lambda other, k: emit(differentiate(other, plan, maps, k), "training_step")
        )
    parameters = tuple(Parameter(name, tuple(captured.tensors[name].shape)) for name in plan.train)
    shape = tuple(maps.shape[1:])
    spec = Spec(shape, classes, optimiser, penalty, plan.scalars, STATE[optimiser], parameters, weight, bias)
    difference = check(captured, spec, ahead, training, maps)
    if rows:
        more = with_classes(captured, rows, classes + 1)
        check(more, replace(spec, classes=classes + 1), ahead, training, maps)
    initial = {name: captured.tensors[name].numpy().copy() for name in plan.train}
    return CompiledTail(ahead, training, spec, initial, difference)


def _choose(captured: Captured, train: Literal["all"] | Sequence[str]) -> tuple[str, ...]:
    if not captured.parameters:
        raise ConversionError("expected a tail with parameters, found none. Cut in front of a layer that has some.")
    if train == "all":
        return tuple(captured.parameters)
    patterns = [train] if isinstance(train, str) else list(train)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in captured.parameters):
            near = difflib.get_close_matches(pattern, captured.parameters, n=3, cutoff=0.3)
            known = f"Close to it: {near}" if near else f"There are {list(captured.parameters)[:8]}"
            raise InputError(
                f"expected names or patterns of the tail's parameters, found {pattern!r}, which fits none. {known}. "
                f"A BatchNorm that was folded has none of its own: train its layer."
            )
    chosen = tuple(name for name in captured.parameters if any(fnmatchcase(name, pattern) for pattern in patterns))
    if not chosen:
        raise InputError("expected at least one parameter to train, found an empty list. Name one, or say 'all'.")
    return chosen
