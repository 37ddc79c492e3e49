"""Make the batch axis of an ONNX file free where the file fixes it."""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import Network, attributes, drop_unused

BATCH = "n"


def free_batch(model: onnx.ModelProto, sample: tuple[int, ...]) -> onnx.ModelProto:
    """Return the network with a free batch axis and a fixed shape of one sample.

    Reshapes to a constant shape that begins with the batch are rewritten, and constants that are joined with samples
    (a class token) are repeated. Whether that was all can only be seen by running it at several batch sizes.

    Args:
        model: One input, one output.
        sample: Shape of one sample.

    Returns:
        A changed copy.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    shape = freed.graph.input[0].type.tensor_type.shape
    batch = int(shape.dim[0].dim_value) if shape.dim[0].HasField("dim_value") else None
    for axis, length in zip(list(shape.dim)[1:], sample, strict=True):
        axis.Clear()
        axis.dim_value = length
    if batch is not None:
        _rewrite(freed, Network(freed, batch), batch)
    shape.dim[0].Clear()
    shape.dim[0].dim_param = BATCH
    for value in freed.graph.output:
        value.type.tensor_type.ClearField("shape")
    drop_unused(freed)
    return freed


def _rewrite(model: onnx.ModelProto, network: Network, batch: int) -> None:
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    counted = False
    for i, node in enumerate(graph.node):
        if node.op_type == "Reshape" and network.moving(node):
            _free_reshape(graph, network, node, batch, i)
        if node.op_type == "Concat" and network.moving(node) and attributes(node).get("axis") != 0:
            for at, name in enumerate(node.input):
                constant = network.constant(name)
                if constant is None or not constant.ndim or constant.shape[0] != batch:
                    continue
                if not counted:
                    nodes += _count(graph, network.source)
                    counted = True
                nodes += _repeat(graph, constant, f"free/{i}_{at}")
                node.input[at] = f"free/{i}_{at}"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _free_reshape(graph: onnx.GraphProto, network: Network, node: onnx.NodeProto, batch: int, place: int) -> None:
    target = network.constant(node.input[1])
    if target is None or not target.size or attributes(node).get("allowzero"):
        return
    first, *rest = (int(length) for length in target)
    given = network.shapes.get(node.input[0], ())
    if first in (-1, 0):
        return
    if -1 not in rest and 0 not in rest:
        first = -1
    elif first == batch and given[:1] == (batch,):
        # 0 takes the length of the same axis of what goes in.
        first = 0
    else:
        return
    graph.initializer.append(numpy_helper.from_array(np.array([first, *rest], np.int64), f"free/shape_{place}"))
    node.input[1] = f"free/shape_{place}"


def _count(graph: onnx.GraphProto, source: str) -> list[onnx.NodeProto]:
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "free/first"))
    return [
        helper.make_node("Shape", [source], ["free/lengths"], name="free/Shape"),
        helper.make_node("Gather", ["free/lengths", "free/first"], ["free/n"], name="free/Gather"),
    ]


def _repeat(
    graph: onnx.GraphProto, constant: np.ndarray[tuple[int, ...], np.dtype[np.generic]], name: str
) -> list[onnx.NodeProto]:
    one = constant[:1] if math.prod(constant.shape) else constant
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(one), f"{name}/one"))
    graph.initializer.append(numpy_helper.from_array(np.array(constant.shape[1:], np.int64), f"{name}/rest"))
    return [
        helper.make_node("Concat", ["free/n", f"{name}/rest"], [f"{name}/shape"], name=f"{name}/Concat", axis=0),
        helper.make_node("Expand", [f"{name}/one", f"{name}/shape"], [name], name=f"{name}/Expand"),
    ]
