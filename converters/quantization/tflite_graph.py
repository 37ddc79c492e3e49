"""Read and write a TFLite file, and name those of its operators that stay in float."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

_FLOAT32 = schema.TensorType.FLOAT32
_JOINING = {
    schema.BuiltinOperator.CONCATENATION,
    schema.BuiltinOperator.MEAN,
    schema.BuiltinOperator.REDUCE_MAX,
    schema.BuiltinOperator.SUM,
    schema.BuiltinOperator.AVERAGE_POOL_2D,
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.TRANSPOSE,
}
_CONVOLUTIONS = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D}
_WEIGHTED = {
    *_CONVOLUTIONS,
    schema.BuiltinOperator.FULLY_CONNECTED,
    schema.BuiltinOperator.TRANSPOSE_CONV,
    schema.BuiltinOperator.BATCH_MATMUL,
}


_BIASED = {*_CONVOLUTIONS, schema.BuiltinOperator.FULLY_CONNECTED}


def inline_weights(content: bytes) -> bytes:
    """Put weights that lie behind the flatbuffer, as the quantizer writes larger models, back into it.

    Older runtimes do not look behind it, and a bundle's reader refuses such files.
    """
    return write_model(read_model(content))


def read_model(content: bytes) -> Any:
    """Return a TFLite file as the schema's objects, weights included."""
    model: Any = flatbuffer_utils.read_model_from_bytearray(content)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def write_model(model: Any) -> bytes:
    """Return the schema's objects as a TFLite file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def kind(model: Any, operator: Any) -> int:
    """Return which of the schema's built-in operators one is."""
    return int(flatbuffer_utils.get_builtin_code_from_operator_code(model.operatorCodes[operator.opcodeIndex]))


@dataclass(frozen=True)
class Scopes:
    """The operators of a graph by the names that the quantizer knows them by.

    Args:
        outer: What stays in float: what prepares the input, and what averages and joins the taps.
        layers: The operators with weights, in the order of the graph, outer ones left out.
        convolutions: Those of them that are convolutions.
        activations: The activations in float32 that the graph holds, by the places of their tensors.
    """

    outer: tuple[str, ...]
    layers: tuple[str, ...]
    convolutions: tuple[str, ...]
    activations: dict[str, int]


def find_scopes(content: bytes, inside: str) -> Scopes:
    """Name the operators of a TFLite file with one graph.

    Args:
        content: The file, in float.
        inside: Part of a tensor's name that marks it as belonging to the backbone.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    codes = [kind(model, operator) for operator in graph.operators]
    names = [";".join(graph.tensors[i].name.decode() for i in operator.outputs) + ";" for operator in graph.operators]
    outside = {i for i, name in enumerate(names) if inside not in name} | _joining(graph, codes)
    weighted = [i for i, code in enumerate(codes) if code in _WEIGHTED and i not in outside]
    activations = {
        graph.tensors[i].name.decode(): int(i)
        for operator in graph.operators
        for i in [*operator.inputs, *operator.outputs]
        if i >= 0 and model.buffers[graph.tensors[i].buffer].data is None and graph.tensors[i].type == _FLOAT32
    }
    return Scopes(
        tuple(names[i] for i in sorted(outside)),
        tuple(names[i] for i in weighted),
        tuple(names[i] for i in weighted if codes[i] in _CONVOLUTIONS),
        activations,
    )


@dataclass(frozen=True, eq=False)
class BiasedLayer:
    """A convolution or a linear layer of a TFLite file.

    Args:
        output: Place of the tensor that leaves it.
        activation: The activation within it, by the schema's number.
        bias: Place of the buffer with its bias, or None where it has none of its own.
        scale: ``(c,)`` or ``(1,)`` steps of a bias in 32 bits, or None where it is in float.
    """

    output: int
    activation: int
    bias: int | None
    scale: NDArray[np.float32] | None


def biased_layers(content: bytes) -> tuple[BiasedLayer, ...]:
    """Return the convolutions and linear layers of a TFLite file with one graph, in their order."""
    model = read_model(content)
    graph = model.subgraphs[0]
    buffers = [tensor.buffer for tensor in graph.tensors]
    taken = [place for operator in graph.operators for place in operator.inputs]
    found = []
    for operator in graph.operators:
        if kind(model, operator) not in _BIASED:
            continue
        place = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        tensor = graph.tensors[place] if place >= 0 else None
        # Biases that are alike may share a buffer.
        own = tensor is not None and taken.count(place) == 1 and buffers.count(tensor.buffer) == 1
        bias, scale = None, None
        if tensor is not None and own and model.buffers[tensor.buffer].data is not None:
            bias = int(tensor.buffer)
            scale = None if tensor.type == _FLOAT32 else np.asarray(tensor.quantization.scale, np.float32)
        activation = int(operator.builtinOptions.fusedActivationFunction)
        found.append(BiasedLayer(int(operator.outputs[0]), activation, bias, scale))
    return tuple(found)


def short_name(scope: str) -> str:
    """Return the path of the module that a layer was made from, as far as the file tells it."""
    parts = scope.split(";;")[-1].split(";")[0].split("/")
    return ".".join(part.rpartition(".")[2].partition("_")[2] or part for part in parts[1:]) or scope[:60]


def _joining(graph: Any, codes: list[int]) -> set[int]:
    makers = {output: i for i, operator in enumerate(graph.operators) for output in operator.outputs}
    takers = defaultdict(set)
    for i, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            takers[tensor].add(i)
    joining: set[int] = set()
    waiting = list(graph.outputs)
    while waiting:
        maker = makers.get(waiting.pop())
        # An average that the network itself goes on from is no end.
        if maker is not None and codes[maker] in _JOINING and takers[graph.operators[maker].outputs[0]] <= joining:
            joining.add(maker)
            waiting += list(graph.operators[maker].inputs)
    return joining
