"""How much a compiled training step holds at once, so that a device can tell beforehand what memory it needs."""

import math

import onnx
from onnx import helper, shape_inference

from ..tail_spec import BATCH
from .training.onnx_emit import BATCH as FREE_BATCH


def workspace(step: bytes, classes: int) -> int:
    """Return the most bytes of intermediate results that a step on `BATCH` rows holds at once.

    Results are made in the order of the graph, and each goes when nothing behind it takes it.

    Args:
        step: The ONNX model of the step.
        classes: Number of classes.

    Returns:
        Bytes; what the step is given and what it gives back do not count.
    """
    model = onnx.load_from_string(step)
    graph = model.graph
    for given in graph.input:
        for dim in given.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = BATCH if dim.dim_param == FREE_BATCH else classes
    outputs = {output.name for output in graph.output}
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {value.name: _bytes(value) for value in inferred.value_info if value.name not in outputs}
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    live: dict[str, int] = {}
    most = 0
    for i, node in enumerate(graph.node):
        live |= {name: sizes[name] for name in node.output if name in sizes}
        most = max(most, sum(live.values()))
        for name in (*node.input, *node.output):
            if last.get(name, i) <= i:
                live.pop(name, None)
    return most


def _bytes(value: onnx.ValueInfoProto) -> int:
    kind = value.type.tensor_type
    each = int(helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
    return each * math.prod(int(dim.dim_value) for dim in kind.shape.dim)
