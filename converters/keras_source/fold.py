"""Fold factors and summands per channel into the ONNX convolution before them.

tf2onnx does so for BatchNorm behind ordinary convolutions, not behind depthwise ones. Left alone, each would be an
operator of its own, and in 8 bits round once more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper


def fold_channels(graph: GraphProto) -> int:
    """Fold every ``Mul`` and ``Add`` by a constant per channel that alone takes what a ``Conv`` makes.

    Args:
        graph: The graph; it is changed.

    Returns:
        How many were folded.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    ends = {value.name for value in graph.output}
    made_by: dict[str, NodeProto] = {}
    kept: list[NodeProto] = []
    count = 0
    for node in graph.node:
        conv = next((made_by[name] for name in node.input if name in made_by), None)
        alone = conv is not None and conv.output[0] not in ends and uses[conv.output[0]] == 1
        if conv is not None and alone and _fold(graph, conv, node, constants):
            conv.output[0] = node.output[0]
            count += 1
        else:
            conv = node if node.op_type == "Conv" and node.input[1] in constants else None
            kept.append(node)
        if conv is not None:
            made_by[conv.output[0]] = conv
    copies = [node.SerializeToString() for node in kept]
    del graph.node[:]
    graph.node.extend(NodeProto.FromString(copy) for copy in copies)
    wanted = {name for node in graph.node for name in node.input}
    tensors = [tensor.SerializeToString() for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(type(next(iter(constants.values()))).FromString(tensor) for tensor in tensors)
    return count


def _fold(graph: GraphProto, conv: NodeProto, node: NodeProto, constants: dict[str, Any]) -> bool:
    if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
        return False
    (other,) = [name for name in node.input if name != conv.output[0]] or [""]
    if other not in constants or (len(conv.input) > 2 and conv.input[2] not in constants):
        return False
    weight = numpy_helper.to_array(constants[conv.input[1]])
    values = _per_channel(numpy_helper.to_array(constants[other]), weight.ndim, len(weight))
    if values is None or weight.dtype != np.float32:
        return False
    bias = numpy_helper.to_array(constants[conv.input[2]]) if len(conv.input) > 2 else np.zeros(len(weight), np.float32)
    if node.op_type == "Mul":
        weight, bias = weight * values.reshape(-1, *[1] * (weight.ndim - 1)), bias * values
    else:
        bias = bias + values
    inputs = [conv.input[0]]
    for name, array in ((f"{node.output[0]}/weight", weight), (f"{node.output[0]}/bias", bias)):
        tensor = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        graph.initializer.append(tensor)
        constants[name] = graph.initializer[-1]
        inputs.append(name)
    del conv.input[:]
    conv.input.extend(inputs)
    return True


def _per_channel(values: NDArray[np.generic], rank: int, channels: int) -> NDArray[np.float32] | None:
    if values.size == 1 and values.ndim <= rank:
        return np.full(channels, values.ravel()[0], np.float32)
    # Aligned at the right, as broadcasting does: channels are the second of `rank` axes.
    shape = (1,) * (rank - values.ndim) + values.shape
    fits = len(shape) == rank and shape[1] == channels == values.size
    return values.ravel().astype(np.float32) if fits else None
