"""What ONNX operators compute, in PyTorch: one function an operator, or a family of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import rules_layers, rules_shapes
from .operation import Operation

Given = Sequence[Any]
Rule = Callable[[Operation, Given, int], Any]
# Torch's own formulas, whose gradients are compiled to fewer operations.
_SIXTH = 1 / 6
_CLOSE = 1e-6


def _unary(function: Callable[[Tensor], Tensor]) -> Rule:
    return lambda op, given, n: function(given[0])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    return lambda op, given, n: reduce(function, given)


def _alpha(function: Callable[[Tensor, float], Tensor], usual: float) -> Rule:
    return lambda op, given, n: function(given[0], float(op.attribute("alpha", usual)))


def _mean(op: Operation, given: Given, n: int) -> Tensor:
    total: Tensor = reduce(torch.add, given)
    return total / len(given)


def _clip(op: Operation, given: Given, n: int) -> Tensor:
    low, high = op.number(1), op.number(2)
    if low is None and high is None:
        return rules_shapes.same(op, given, n)
    if low is not None and high is not None and low < high:
        return functional.hardtanh(given[0], low, high)
    if low == 0 and high is None:
        return torch.relu(given[0])
    return torch.clamp(given[0], low, high)


def _hard_sigmoid(op: Operation, given: Given, n: int) -> Tensor:
    alpha, beta = float(op.attribute("alpha", 0.2)), float(op.attribute("beta", 0.5))
    if abs(alpha - _SIXTH) < _CLOSE and beta == 0.5:
        return functional.hardsigmoid(given[0])
    return functional.hardtanh(given[0] * alpha + beta, 0.0, 1.0)


def _gelu(op: Operation, given: Given, n: int) -> Tensor:
    return functional.gelu(given[0], approximate=op.attribute("approximate", "none"))


def _p_relu(op: Operation, given: Given, n: int) -> Tensor:
    x, slope = given
    found: Tensor = torch.relu(x) - slope * torch.relu(-x)
    return found


def _softmax(op: Operation, given: Given, n: int) -> Tensor:
    function: Callable[..., Tensor] = torch.softmax if op.kind == "Softmax" else torch.log_softmax
    found: Tensor = function(given[0], op.axis(-1))
    return found


def _power(op: Operation, given: Given, n: int) -> Tensor:
    exponent = op.number(1)
    return torch.square(given[0]) if exponent == 2 else torch.pow(given[0], exponent)  # type: ignore[arg-type]


def _where(op: Operation, given: Given, n: int) -> Tensor:
    if 0 not in op.constants:
        raise op.refusal("a condition that is a constant", f"{op.inputs[0]!r}, which is computed")
    return torch.where(given[0].bool(), given[1], given[2])


def _reduce(op: Operation, given: Given, n: int) -> Tensor:
    axes = op.numbers(1, "axes")
    if axes is None and op.attribute("noop_with_empty_axes", 0):
        return rules_shapes.same(op, given, n)
    along = [axis % op.rank() for axis in axes] if axes else list(range(op.rank()))
    return _REDUCE[op.kind](given[0], along, bool(op.attribute("keepdims", 1)))


_REDUCE: Mapping[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep),
}

RULES: Mapping[str, Rule] = {
    "Relu": _unary(torch.relu),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Abs": _unary(torch.abs),
    "Neg": _unary(torch.neg),
    "Softplus": _unary(functional.softplus),
    "Softsign": _unary(lambda x: x / (1 + x.abs())),
    "HardSwish": _unary(functional.hardswish),
    "Mish": _unary(functional.mish),
    "Swish": _unary(functional.silu),
    "LeakyRelu": _alpha(functional.leaky_relu, 0.01),
    "Elu": _alpha(functional.elu, 1.0),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "PRelu": _p_relu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Add": _binary(torch.add),
    "Sub": _binary(torch.sub),
    "Mul": _binary(torch.mul),
    "Div": _binary(torch.div),
    "Max": _binary(torch.maximum),
    "Min": _binary(torch.minimum),
    "Sum": _binary(torch.add),
    "Mean": _mean,
    "Pow": _power,
    "Where": _where,
    **dict.fromkeys(_REDUCE, _reduce),
    **rules_layers.RULES,
    **rules_shapes.RULES,
}
