"""How ONNX operations that work number by number are written in TFLite."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import TensorProto

from .tflite_shapes import broadcast, joined, merged
from .tflite_writer import Made, Writer

Attributes = Mapping[str, Any]
Emit = Callable[..., Any]
# Axes that the runtime's kernels broadcast.
_RANK = 4
_TYPES = {TensorProto.FLOAT: "float32", TensorProto.BOOL: "bool"}
# Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", 7.1.28; off by 3e-7 at most.
_ERF = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)


def combine(writer: Writer, kind: str, values: Sequence[Made], dtype: str | None = None, **options: Any) -> Made:
    """Apply an operation that broadcasts, with as few axes as that takes."""
    shapes = [value.shape for value in values]
    shape = broadcast(shapes)
    given = (_OPTIONS[kind], options) if kind in _OPTIONS else None
    dtype = dtype or values[-1].dtype
    if len(shape) <= _RANK or len(set(shapes)) == 1:
        return writer.add(kind, values, shape, dtype, given)
    padded = [(1,) * (len(shape) - len(one)) + one for one in shapes]
    groups = joined(padded)
    views = [
        writer.view(value, merged(full, groups)) if value.shape else value
        for value, full in zip(values, padded, strict=True)
    ]
    return writer.view(writer.add(kind, views, merged(shape, groups), dtype, given), shape)


def _plain(kind: str, dtype: str | None = None) -> Emit:
    def emit(writer: Writer, _: Attributes, *values: Made) -> Made:
        return combine(writer, kind, values, dtype)

    return emit


def _clip(writer: Writer, _: Attributes, x: Made, low: Made | None = None, high: Made | None = None) -> Made:
    if low is not None:
        x = combine(writer, "MAXIMUM", [x, low])
    return x if high is None else combine(writer, "MINIMUM", [x, high])


def _hard_sigmoid(writer: Writer, attributes: Attributes, x: Made) -> Made:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    line = combine(writer, "MUL", [x, writer.number(alpha)])
    if beta:
        line = combine(writer, "ADD", [line, writer.number(beta)])
    return _clip(writer, {}, line, writer.number(0), writer.number(1))


def _cast(writer: Writer, attributes: Attributes, x: Made) -> Made:
    wanted = _TYPES.get(attributes["to"], "int32")
    return x if x.dtype == wanted else writer.add("CAST", [x], x.shape, wanted, ("CastOptions", {}))


def _reciprocal(writer: Writer, _: Attributes, x: Made) -> Made:
    return combine(writer, "DIV", [writer.number(1), x])


def _erf(writer: Writer, _: Attributes, x: Made) -> Made:
    """The error function, which TFLite does not have: ``1 - 1 / p(abs(x)) ** 16``, with the sign of x."""
    away = writer.add("ABS", [x], x.shape)
    total = writer.number(_ERF[-1])
    for factor in reversed(_ERF[:-1]):
        total = combine(writer, "ADD", [combine(writer, "MUL", [total, away]), writer.number(factor)])
    total = combine(writer, "ADD", [combine(writer, "MUL", [total, away]), writer.number(1)])
    for _squared in range(4):
        total = combine(writer, "MUL", [total, total])
    size = combine(writer, "SUB", [writer.number(1), _reciprocal(writer, {}, total)])
    return combine(writer, "MUL", [writer.add("SIGN", [x], x.shape), size])


def _log(writer: Writer, _: Attributes, x: Made) -> Made:
    return writer.add("LOG", [x], x.shape)


_OPTIONS = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "POW": "PowOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "NEG": "NegOptions",
    "EXP": "ExpOptions",
    "ABS": "AbsOptions",
    "COS": "CosOptions",
    "SELECT_V2": "SelectV2Options",
    "HARD_SWISH": "HardSwishOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
    "EQUAL": "EqualOptions",
    "LOGICAL_AND": "LogicalAndOptions",
    "LOGICAL_OR": "LogicalOrOptions",
    "LOGICAL_NOT": "LogicalNotOptions",
}

ELEMENTWISE: dict[str, Emit] = {
    "Add": _plain("ADD"),
    "Sub": _plain("SUB"),
    "Mul": _plain("MUL"),
    "Div": _plain("DIV"),
    "Pow": _plain("POW"),
    "Max": _plain("MAXIMUM"),
    "Min": _plain("MINIMUM"),
    "Neg": _plain("NEG"),
    "Exp": _plain("EXP"),
    "Log": _log,
    "Sqrt": _plain("SQRT"),
    "Reciprocal": _reciprocal,
    "Abs": _plain("ABS"),
    "Sign": _plain("SIGN"),
    "Erf": _erf,
    "Sin": _plain("SIN"),
    "Cos": _plain("COS"),
    "Tanh": _plain("TANH"),
    "Sigmoid": _plain("LOGISTIC"),
    "Relu": _plain("RELU"),
    "HardSwish": _plain("HARD_SWISH"),
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "Cast": _cast,
    "Where": _plain("SELECT_V2"),
    "Greater": _plain("GREATER", "bool"),
    "GreaterOrEqual": _plain("GREATER_EQUAL", "bool"),
    "Less": _plain("LESS", "bool"),
    "LessOrEqual": _plain("LESS_EQUAL", "bool"),
    "Equal": _plain("EQUAL", "bool"),
    "And": _plain("LOGICAL_AND", "bool"),
    "Or": _plain("LOGICAL_OR", "bool"),
    "Not": _plain("LOGICAL_NOT", "bool"),
}
