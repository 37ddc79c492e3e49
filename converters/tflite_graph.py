"""Look into a TFLite file: let its batch size be changed, and name the operators at its two ends."""

from collections import defaultdict
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_JOINING = {
    schema.BuiltinOperator.CONCATENATION,
    schema.BuiltinOperator.MEAN,
    schema.BuiltinOperator.SUM,
    schema.BuiltinOperator.AVERAGE_POOL_2D,
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.TRANSPOSE,
}
_CONVOLUTIONS = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D}


def inline_weights(content: bytes) -> bytes:
    """Put weights that lie behind the flatbuffer, as the quantizer writes larger models, back into it.

    Older runtimes do not look behind it, and a bundle's reader refuses such files.
    """
    return _write(_read(content))


def free_batch(content: bytes) -> bytes:
    """Let every reshape take the batch size from its input instead of from the example it was exported with.

    The converter writes reshapes of a batch of 1 as shapes that begin with 1, which a resized input does not fit. A
    leading -1 means the same and fits every batch.

    Args:
        content: A TFLite file that was exported with a batch of 1.

    Returns:
        The file with free batch size.
    """
    model = _read(content)
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code != schema.BuiltinOperator.RESHAPE or len(operator.inputs) < 2:
                continue
            shape = graph.tensors[operator.inputs[1]]
            source = graph.tensors[operator.inputs[0]].shape
            data = model.buffers[shape.buffer].data
            if data is None or source is None or len(source) == 0 or source[0] != 1:
                continue
            wanted = np.frombuffer(bytes(data), np.int32).copy()
            if len(wanted) == 0 or wanted[0] != 1 or (wanted < 0).any():
                continue
            wanted[0] = -1
            operator.inputs = [operator.inputs[0], _constant(model, graph, shape, wanted)]
            # The shape also stands in the options, which older runtimes prefer.
            operator.builtinOptions = None
            operator.builtinOptionsType = 0
    return _write(model)


def _read(content: bytes) -> Any:
    model: Any = flatbuffer_utils.read_model_from_bytearray(content)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def _write(model: Any) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _constant(model: Any, graph: Any, like: Any, values: np.ndarray[Any, np.dtype[np.int32]]) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name = like.name + b"/any_batch"
    tensor.shape = like.shape
    tensor.type = like.type
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def float_scopes(content: bytes, inside: str, convolutions: int) -> list[str]:
    """Name the operators that stay in float: what prepares the input, and what averages and joins the taps.

    Args:
        content: A TFLite file with one graph.
        inside: Part of a tensor's name that marks it as belonging to the backbone.
        convolutions: How many of the first convolutions are to stay in float too.

    Returns:
        The names by which the quantizer knows them.
    """
    model = _read(content)
    graph = model.subgraphs[0]
    codes = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    names = [";".join(graph.tensors[i].name.decode() for i in operator.outputs) + ";" for operator in graph.operators]
    first = [i for i, code in enumerate(codes) if code in _CONVOLUTIONS and inside in names[i]][:convolutions]
    outside = [i for i, name in enumerate(names) if inside not in name]
    return [names[i] for i in sorted({*first, *outside, *_joining(graph, codes)})]


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
