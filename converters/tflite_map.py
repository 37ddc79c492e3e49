"""Let the map leave a TFLite backbone by an operator of its own, as the network goes on from it.

The quantizer renames what leaves and keeps it in float; what lies behind would then be computed from float too. The
converter also turns a map into the axes that PyTorch gives it, and back for the next layer: twice for nothing.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .quantization.tflite_graph import kind, read_model, write_model
from .tflite_edit import add_constant, add_tensor, constant, drop_unused

_OPERATOR = schema.BuiltinOperator


def part_map(content: bytes) -> bytes:
    """Return a backbone with the same outputs, the second of which no operator takes.

    Args:
        content: The TFLite file, from raw input to latent and map.
    """
    model = read_model(content)
    (graph,) = model.subgraphs
    place = int(graph.outputs[1])
    maker = next((o for o in graph.operators if place in list(o.outputs)), None)
    takers = [o for o in graph.operators if place in list(o.inputs)]
    turned = None if maker is None or kind(model, maker) != _OPERATOR.TRANSPOSE else constant(model, graph, maker, 1)
    for operator in list(takers):
        back = constant(model, graph, operator, 1) if kind(model, operator) == _OPERATOR.TRANSPOSE else None
        if maker is None or turned is None or back is None or not np.array_equal(turned[back], np.arange(len(turned))):
            continue
        _take_instead(graph, int(operator.outputs[0]), int(maker.inputs[0]))
        takers.remove(operator)
        graph.operators.remove(operator)
    if takers:
        _leave(model, graph, place, max(graph.operators.index(o) for o in graph.operators if place in list(o.outputs)))
    drop_unused(model)
    return write_model(model)


def latent_first(content: bytes, width: int) -> bytes:
    """Return a backbone whose first output is the latent, as TensorFlow's converter need not order them.

    Args:
        content: The TFLite file, from raw input to latent and map in any order.
        width: Width of the latent.
    """
    model = read_model(content)
    (graph,) = model.subgraphs
    shapes = [tuple(int(axis) for axis in graph.tensors[int(place)].shape) for place in graph.outputs]
    if len(shapes[0]) == 2 and shapes[0][1] == width:
        return content
    graph.outputs = list(graph.outputs)[::-1]
    return write_model(model)


def _take_instead(graph: Any, old: int, new: int) -> None:
    for operator in graph.operators:
        operator.inputs = [new if i == old else i for i in operator.inputs]


def _leave(model: Any, graph: Any, place: int, after: int) -> None:
    """Copy the map, by a view of the same shape, and let the copy leave."""
    inside = graph.tensors[place]
    shape = [int(axis) for axis in inside.shape]
    lengths = add_constant(model, graph, inside, np.array([-1, *shape[1:]], np.int32))
    copy = add_tensor(graph, inside, shape)
    graph.tensors[copy].shapeSignature = inside.shapeSignature
    graph.tensors[copy].name, inside.name = inside.name, inside.name + b"/inside"
    operator = schema.OperatorT()
    operator.opcodeIndex = _reshape(model)
    operator.inputs, operator.outputs = [place, lengths], [copy]
    graph.operators.insert(after + 1, operator)
    graph.outputs = [graph.outputs[0], copy]
    for signature in model.signatureDefs or ():
        for entry in signature.outputs:
            entry.tensorIndex = copy if entry.tensorIndex == place else entry.tensorIndex


def _reshape(model: Any) -> int:
    for i, code in enumerate(model.operatorCodes):
        if _OPERATOR.RESHAPE in (code.builtinCode, code.deprecatedBuiltinCode):
            return i
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = _OPERATOR.RESHAPE
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
