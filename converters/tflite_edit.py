"""Read and change constants and operators of a TFLite file, as the schema's objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TYPES: dict[int, type[np.generic]] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Return a tensor's shape; a scalar has none in the file."""
    return () if tensor.shape is None else tuple(int(axis) for axis in tensor.shape)


def constant(model: Any, graph: Any, operator: Any, place: int) -> NDArray[Any] | None:
    """Return a constant input of an operator.

    Args:
        model: The file.
        graph: Its graph.
        operator: The operator.
        place: Which of its inputs.

    Returns:
        A copy in the tensor's shape, or None where the input is computed, left out, or of another type than `TYPES`.
    """
    if len(operator.inputs) <= place or operator.inputs[place] < 0:
        return None
    tensor = graph.tensors[operator.inputs[place]]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type not in TYPES:
        return None
    return np.frombuffer(bytes(data), TYPES[tensor.type]).reshape(shape_of(tensor)).copy()


def set_data(model: Any, tensor: Any, values: NDArray[Any]) -> None:
    """Make a tensor a constant with a buffer of its own."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.shape, tensor.shapeSignature = list(values.shape), None
    tensor.buffer = len(model.buffers) - 1


def add_tensor(graph: Any, like: Any, shape: Sequence[int]) -> int:
    """Add a tensor that is computed, of another one's type, and return its place."""
    tensor = schema.TensorT()
    # The quantizer knows tensors by their names, so each needs its own.
    tensor.name = like.name + f"/any_batch_{len(graph.tensors)}".encode()
    tensor.type, tensor.shape, tensor.buffer = like.type, list(shape), 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(model: Any, graph: Any, like: Any, values: NDArray[Any]) -> int:
    """Add a constant and return its place; the type is read off its values."""
    place = add_tensor(graph, like, values.shape)
    graph.tensors[place].type = next(code for code, kept in TYPES.items() if kept == values.dtype.type)
    set_data(model, graph.tensors[place], values)
    return place


def set_input(operator: Any, place: int, tensor: int) -> None:
    """Let an operator take another tensor."""
    inputs = list(operator.inputs)
    inputs[place] = tensor
    operator.inputs = inputs


def replace_constant(model: Any, graph: Any, operator: Any, place: int, values: NDArray[Any]) -> None:
    """Give an operator another constant; others that share the old one keep it."""
    set_input(operator, place, add_constant(model, graph, graph.tensors[operator.inputs[place]], values))


def new_operator(model: Any, code: int, inputs: Sequence[int], output: int, options: tuple[int, Any]) -> Any:
    """Make a built-in operator with one output.

    Args:
        model: The file, which learns the operator's code if it has none of the kind.
        code: Which of the schema's built-in operators.
        inputs: Places of its inputs.
        output: Place of its output.
        options: Type of its options, and the options.
    """
    operator = schema.OperatorT()
    operator.opcodeIndex = _code_index(model, code)
    operator.inputs, operator.outputs = list(inputs), [output]
    operator.builtinOptionsType, operator.builtinOptions = options
    return operator


def drop_unused(model: Any) -> None:
    """Take tensors that no operator knows, and the data that nothing reads, out of the file."""
    for place, graph in enumerate(model.subgraphs):
        ends = [*graph.inputs, *graph.outputs]
        used = {int(i) for operator in graph.operators for i in _known_to(operator)} | {int(i) for i in ends}
        kept = sorted(used - {-1})
        graph.tensors = [graph.tensors[i] for i in kept]
        _renumber(model, graph, place, {-1: -1, **{old: new for new, old in enumerate(kept)}})
    read = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors}
    read |= {int(entry.buffer) for entry in model.metadata or ()}
    for i, buffer in enumerate(model.buffers):
        if i not in read:
            buffer.data = None


def _known_to(operator: Any) -> list[int]:
    return [
        *operator.inputs,
        *operator.outputs,
        *(operator.intermediates if operator.intermediates is not None else ()),
    ]


def _renumber(model: Any, graph: Any, place: int, places: dict[int, int]) -> None:
    for operator in graph.operators:
        operator.inputs = [places[int(i)] for i in operator.inputs]
        operator.outputs = [places[int(i)] for i in operator.outputs]
        if operator.intermediates is not None:
            operator.intermediates = [places[int(i)] for i in operator.intermediates]
    graph.inputs = [places[int(i)] for i in graph.inputs]
    graph.outputs = [places[int(i)] for i in graph.outputs]
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == place:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = places[int(entry.tensorIndex)]


def _code_index(model: Any, code: int) -> int:
    for i, known in enumerate(model.operatorCodes):
        if known.builtinCode == code and known.customCode is None:
            return i
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1
