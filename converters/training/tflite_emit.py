"""Write a compiled tail as TFLite, from its ONNX form: built-in operators, batch and number of classes free."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ...errors import ConversionError
from .onnx_emit import BATCH
from .tflite_ops import EMITTERS, KNOWN
from .tflite_writer import Made, Writer

_PRIMES = (1_009, 1_013, 1_019, 1_021, 1_031, 1_033, 1_039, 1_049, 1_051, 1_061, 1_063, 1_069)
Known = NDArray[Any]


def emit_tflite(content: bytes, name: str) -> bytes:
    """Write a model of a compiled tail as TFLite.

    Args:
        content: The ONNX model, as `emit` and `free_classes` write it.
        name: The graph's name.

    Returns:
        The TFLite file, for a batch of 1 and one class: whoever loads it resizes its inputs.

    Raises:
        ConversionError: If an operation has no form in TFLite here.
    """
    graph = onnx.load_from_string(content).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    lengths = {d.dim_value for v in graph.input for d in v.type.tensor_type.shape.dim}
    lengths |= {length for values in constants.values() for length in values.shape}
    telling = [prime for prime in _PRIMES if all(length % prime for length in lengths if length)]
    if len(telling) < 2:
        raise ConversionError("expected lengths that leave two primes to tell free axes by, found none.")
    writer = Writer((telling[0], telling[1]))
    values: dict[str, Made | Known | None] = dict(constants)
    inputs: dict[str, Made] = {}
    for given in graph.input:
        shape = [d.dim_value or writer.free[0 if d.dim_param == BATCH else 1] for d in given.type.tensor_type.shape.dim]
        inputs[given.name] = writer.tensor(given.name, shape)
    values |= inputs
    writer.sources.extend(inputs.values())
    for node in graph.node:
        found = _emit(writer, node, [values.get(name) for name in node.input])
        values |= zip(node.output, found if isinstance(found, list) else [found], strict=False)
    outputs: dict[str, Made] = {}
    for wanted in graph.output:
        found = _made(writer, values[wanted.name])
        # A tensor has one name.
        if found.index in {t.index for t in (*inputs.values(), *outputs.values())}:
            found = writer.copy(found)
        outputs[wanted.name] = found
    return writer.finish(inputs, outputs, name)


def _emit(writer: Writer, node: onnx.NodeProto, given: list[Made | Known | None]) -> Any:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    # Lengths are known as soon as their tensor's shape is.
    if node.op_type == "Shape":
        (x,) = given
        assert x is not None  # noqa: S101  an input that is needed
        return np.array(x.shape[attributes.get("start", 0) : attributes.get("end")], np.int64)
    if all(isinstance(value, np.ndarray) and value.dtype.kind == "i" for value in given):
        if node.op_type == "Concat":
            return np.concatenate(given)  # type: ignore[arg-type]
        if node.op_type == "Mul":
            return given[0] * given[1]  # type: ignore[operator]
    rule = EMITTERS.get(node.op_type)
    if rule is None:
        raise ConversionError(f"expected operations that TFLite has, found {node.op_type!r} in the compiled tail.")
    places = KNOWN.get(node.op_type, ())
    args = [v if i in places or v is None else _made(writer, v) for i, v in enumerate(given)]
    return rule(writer, attributes, *args)


def _made(writer: Writer, value: Any) -> Made:
    return value if isinstance(value, Made) else writer.constant(value)
