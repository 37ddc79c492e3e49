"""Shapes that cannot be inferred, as where a file computes them: measured by running the network once, on zeros."""

import numpy as np
import onnx
from onnx import helper

from ..quiet import quiet
from .graph import Network
from .reference import open_session


def measured_shapes(network: Network) -> dict[str, tuple[int | None, ...]]:
    """Measure the shapes of tensors that shape inference leaves open.

    Args:
        network: The network, of a known shape of one sample.

    Returns:
        Shapes by name; none where the network does not run.
    """
    open_ones = [
        name
        for node in network.model.graph.node
        for name in node.output
        if name in network.live and None in network.shapes.get(name, (None,))
    ]
    if not open_ones:
        return {}
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    del model.graph.output[:]
    for name in open_ones:
        # Lengths alone leave, so that memory is what a run takes.
        model.graph.node.append(helper.make_node("Shape", [name], [f"{name}/lengths"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}/lengths", onnx.TensorProto.INT64, None))
    given = network.model.graph.input[0].type.tensor_type
    zeros = np.zeros(
        [network.batch, *(axis.dim_value for axis in given.shape.dim[1:])],
        helper.tensor_dtype_to_np_dtype(given.elem_type),
    )
    try:
        session = open_session(bytes(model.SerializeToString()), "the network")
        with quiet():
            found = session.run([f"{name}/lengths" for name in open_ones], {network.source: zeros})
    # What cannot be measured stays open, and is told where it is needed.
    except Exception:
        return {}
    return {name: tuple(int(length) for length in lengths) for name, lengths in zip(open_ones, found, strict=True)}
