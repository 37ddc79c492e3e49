"""How ATen operations that work number by number are written in ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from .onnx_writer import TYPES, Held, Shape, Writer, broadcast

_aten = torch.ops.aten
Emit = Callable[..., Any]
# Every float32 above the least normal one times this is 1 or more.
_STEEP = 2.0**127


def elementwise(kind: str) -> Emit:
    """An operation that ONNX has under its own name, and that broadcasts."""

    def emit(writer: Writer, node: fx.Node, shape: Shape, *args: Any) -> Held:
        return combine(writer, kind, shape, _same_type(writer, node, args))

    return emit


def combine(writer: Writer, kind: str, shape: Shape, values: Sequence[Held], **attributes: Any) -> Held:
    """Apply an operation that broadcasts, on values as small as they are held."""
    rank = max(len(value.shape) for value in values)
    # ONNX Runtime goes number by number where a value of fewer axes meets one whose last axes are 1.
    full = [_of_rank(writer, value, rank) for value in values]
    name = writer.add(kind, [value.name for value in full], **attributes)[0]
    return Held(name, broadcast([value.shape for value in full]), shape)


def _of_rank(writer: Writer, value: Held, rank: int) -> Held:
    if len(value.shape) == rank or rank < 2:
        return value
    shape = (1,) * (rank - len(value.shape)) + value.shape
    return writer.view(Held(value.name, value.shape, value.shape), shape)


def _same_type(writer: Writer, node: fx.Node, args: Sequence[Any]) -> list[Held]:
    """Turn Python numbers into constants of the type that the tensors among the arguments have."""
    dtypes = [a.meta["val"].dtype for a in node.args if isinstance(a, fx.Node) and hasattr(a.meta["val"], "dtype")]
    # Whole numbers among floats, and a tensor of no axes among those with axes, take the others' type.
    wanted = next((dtype for dtype in dtypes if dtype.is_floating_point), dtypes[0])
    found = []
    tensors = iter(dtypes)
    for arg in args:
        if not isinstance(arg, Held):
            found.append(writer.number(arg, wanted))
        elif next(tensors) != wanted:
            found.append(cast_to(writer, arg, wanted))
        else:
            found.append(arg)
    return found


def cast_to(writer: Writer, value: Held, dtype: torch.dtype) -> Held:
    """Give numbers another type."""
    return Held(writer.add("Cast", [value.name], to=TYPES[dtype])[0], value.shape, value.logical)


def _linear_term(kind: str) -> Emit:
    """Addition and subtraction, whose second argument may have a factor."""

    def emit(writer: Writer, node: fx.Node, shape: Shape, x: Any, y: Any, alpha: float = 1) -> Held:
        # Adding nothing is how PyTorch's formulas copy.
        if not isinstance(y, Held) and y == 0 and isinstance(x, Held) and x.logical == shape:
            return x
        first, second = _same_type(writer, node, (x, y))
        if alpha != 1:
            dtype = node.meta["val"].dtype
            second = combine(writer, "Mul", second.logical, [second, writer.number(alpha, dtype)])
        return combine(writer, kind, shape, [first, second])

    return emit


def _multiply(writer: Writer, node: fx.Node, shape: Shape, x: Any, y: Any) -> Held:
    if not isinstance(y, Held) and y == 1:
        return x  # type: ignore[no-any-return]
    return combine(writer, "Mul", shape, _same_type(writer, node, (x, y)))


def _divide(writer: Writer, node: fx.Node, shape: Shape, x: Any, y: Any) -> Held:
    if not isinstance(y, Held) and node.meta["val"].is_floating_point():
        return _multiply(writer, node, shape, x, 1 / y)
    return combine(writer, "Div", shape, _same_type(writer, node, (x, y)))


def _power(writer: Writer, node: fx.Node, shape: Shape, x: Any, y: Any) -> Held:
    if isinstance(x, Held) and y == 2:
        return combine(writer, "Mul", shape, [x, x])
    return combine(writer, "Pow", shape, _same_type(writer, node, (x, y)))


def unary(kind: str, **attributes: Any) -> Emit:
    """An operation on one tensor."""

    def emit(writer: Writer, node: fx.Node, shape: Shape, x: Held, *_: Any, **__: Any) -> Held:
        return combine(writer, kind, shape, [x], **attributes)

    return emit


def _clamp(writer: Writer, node: fx.Node, shape: Shape, x: Held, low: Any = None, high: Any = None) -> Held:
    bounds = [_bound(writer, node, bound) for bound in (low, high)]
    names = [x.name, *bounds]
    while not names[-1]:
        names.pop()
    return Held(writer.add("Clip", names)[0], x.shape, shape)


def _bound(writer: Writer, node: fx.Node, bound: Any) -> str:
    if bound is None:
        return ""
    return bound.name if isinstance(bound, Held) else writer.number(bound, node.meta["val"].dtype).name


def _hardtanh(writer: Writer, node: fx.Node, shape: Shape, x: Held, low: float = -1, high: float = 1) -> Held:
    return _clamp(writer, node, shape, x, low, high)


def _threshold_backward(writer: Writer, node: fx.Node, shape: Shape, gradient: Held, x: Held, threshold: float) -> Held:
    # x is a rectifier's result: 0 or greater. The steepest ramp is the fastest step that runtimes have.
    if threshold == 0:
        return combine(
            writer, "Mul", shape, [gradient, combine(writer, "HardSigmoid", x.logical, [x], alpha=_STEEP, beta=0.0)]
        )
    above = combine(writer, "Greater", x.logical, [x, writer.number(threshold, torch.float32)])
    return combine(writer, "Mul", shape, [gradient, cast_to(writer, above, torch.float32)])


def _hardtanh_backward(
    writer: Writer, node: fx.Node, shape: Shape, gradient: Held, x: Held, low: float, high: float
) -> Held:
    above = combine(writer, "Greater", x.logical, [x, writer.number(low, torch.float32)])
    below = combine(writer, "Less", x.logical, [x, writer.number(high, torch.float32)])
    inside = cast_to(writer, combine(writer, "And", x.logical, [above, below]), torch.float32)
    return combine(writer, "Mul", shape, [gradient, inside])


def _where(writer: Writer, node: fx.Node, shape: Shape, condition: Held, x: Any, y: Any) -> Held:
    dtype = node.meta["val"].dtype
    branches = [value if isinstance(value, Held) else writer.number(value, dtype) for value in (x, y)]
    return combine(writer, "Where", shape, [condition, *branches])


def _compare(kind: str, negated: bool = False) -> Emit:
    def emit(writer: Writer, node: fx.Node, shape: Shape, x: Any, y: Any) -> Held:
        found = combine(writer, kind, shape, _same_type(writer, node, (x, y)))
        return combine(writer, "Not", shape, [found]) if negated else found

    return emit


def _gelu(writer: Writer, node: fx.Node, shape: Shape, x: Held, approximate: str = "none") -> Held:
    def number(value: float) -> Held:
        return writer.number(value, torch.float32)

    if approximate == "tanh":
        cube = combine(writer, "Mul", x.logical, [combine(writer, "Mul", x.logical, [x, x]), x])
        inner = combine(writer, "Add", x.logical, [x, combine(writer, "Mul", x.logical, [cube, number(0.044715)])])
        curve = combine(
            writer, "Tanh", x.logical, [combine(writer, "Mul", x.logical, [inner, number((2 / np.pi) ** 0.5)])]
        )
    else:
        curve = combine(writer, "Erf", x.logical, [combine(writer, "Mul", x.logical, [x, number(0.5**0.5)])])
    half = combine(writer, "Mul", x.logical, [combine(writer, "Add", x.logical, [curve, number(1)]), number(0.5)])
    return combine(writer, "Mul", shape, [x, half])


def _log_of_one_more(writer: Writer, node: fx.Node, shape: Shape, x: Held) -> Held:
    return combine(writer, "Log", shape, [combine(writer, "Add", x.logical, [x, writer.number(1, torch.float32)])])


def _exponential_less_one(writer: Writer, node: fx.Node, shape: Shape, x: Held) -> Held:
    return combine(writer, "Sub", shape, [combine(writer, "Exp", x.logical, [x]), writer.number(1, torch.float32)])


def _inverse_root(writer: Writer, node: fx.Node, shape: Shape, x: Held) -> Held:
    return combine(writer, "Reciprocal", shape, [combine(writer, "Sqrt", x.logical, [x])])


ELEMENTWISE: dict[Any, Emit] = {
    _aten.add: _linear_term("Add"),
    _aten.sub: _linear_term("Sub"),
    _aten.mul: _multiply,
    _aten.div: _divide,
    _aten.pow: _power,
    _aten.maximum: elementwise("Max"),
    _aten.minimum: elementwise("Min"),
    _aten.neg: unary("Neg"),
    _aten.exp: unary("Exp"),
    _aten.log: unary("Log"),
    _aten.sqrt: unary("Sqrt"),
    _aten.log1p: _log_of_one_more,
    _aten.expm1: _exponential_less_one,
    _aten.rsqrt: _inverse_root,
    _aten.reciprocal: unary("Reciprocal"),
    _aten.abs: unary("Abs"),
    _aten.sign: unary("Sign"),
    _aten.erf: unary("Erf"),
    _aten.sin: unary("Sin"),
    _aten.cos: unary("Cos"),
    _aten.tanh: unary("Tanh"),
    _aten.sigmoid: unary("Sigmoid"),
    _aten.relu: unary("Relu"),
    _aten.hardswish: unary("HardSwish"),
    _aten.hardsigmoid: unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    _aten.logical_not: unary("Not"),
    _aten.bitwise_not: unary("Not"),
    _aten.logical_and: elementwise("And"),
    _aten.logical_or: elementwise("Or"),
    _aten.bitwise_and: elementwise("And"),
    _aten.bitwise_or: elementwise("Or"),
    _aten.gelu: _gelu,
    _aten.clamp: _clamp,
    _aten.hardtanh: _hardtanh,
    _aten.hardtanh_backward: _hardtanh_backward,
    _aten.threshold_backward: _threshold_backward,
    _aten.where: _where,
    _aten.gt: _compare("Greater"),
    _aten.ge: _compare("GreaterOrEqual"),
    _aten.lt: _compare("Less"),
    _aten.le: _compare("LessOrEqual"),
    _aten.eq: _compare("Equal"),
    _aten.ne: _compare("Equal", negated=True),
}
