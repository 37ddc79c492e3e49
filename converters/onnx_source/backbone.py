"""Assemble a backbone from an ONNX network: preprocessing in front, averages or maxima at the taps, one latent out."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from torch import nn

from ...errors import ConversionError
from ..graph_names import INPUT, MAP, OUTPUT
from ..quiet import quiet
from .batch import BATCH
from .graph import drop_unused
from .preprocess import preprocess_nodes
from .taps import OnnxTap

_NETWORK = "net"
_TYPES = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
# From this opset on the axes of a mean or a maximum are an input.
_AXES_AS_INPUT = 18


def assemble(
    network: onnx.ModelProto,
    prepare: nn.Module,
    taps: Sequence[OnnxTap],
    *,
    shape: tuple[int, ...],
    dtype: str,
    simplify: bool,
    cut: OnnxTap | None = None,
) -> bytes:
    """Make the backbone.

    Args:
        network: One input with a free batch axis.
        prepare: From raw samples to what the network takes (`preprocess_nodes`).
        taps: What is pooled and joined, the cut last.
        shape: Shape of one raw sample.
        dtype: Its type.
        simplify: Whether ONNX Runtime's basic optimizations go over the network first: BatchNorm is folded into
            convolutions, which quantization needs.
        cut: Where a tail begins.

    Returns:
        The ONNX file from ``"input"`` ``(n, *shape)`` to ``"latent"`` ``(n, d) float32`` and, with a cut, ``"map"``.

    Raises:
        ConversionError: If the result is not valid.
    """
    part = _cut_off(network, taps if cut is None else [*taps, cut])
    part = _simplified(part) if simplify else part
    names = _rename(part)
    graph = part.graph
    opset = next(entry.version for entry in part.opset_import if not entry.domain)
    source = graph.input[0].name
    nodes, constants = preprocess_nodes(prepare, INPUT, source)
    nodes += graph.node
    parts = []
    for i, tap in enumerate(taps):
        more, weights, name = _pool(names[tap.tensor], tap, opset, i)
        nodes += more
        constants += weights
        parts.append(name)
    nodes.append(helper.make_node("Concat", parts, [OUTPUT], name="taps/Concat", axis=1))
    width = sum(tap.width for tap in taps)
    outputs = [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [BATCH, width])]
    if cut is not None:
        # It leaves by a node of its own: the network goes on from it, and the quantizer renames what leaves.
        nodes.append(helper.make_node("Identity", [names[cut.tensor]], [MAP], name="map/Identity"))
        outputs.append(helper.make_tensor_value_info(MAP, onnx.TensorProto.FLOAT, [BATCH, *cut.shape]))
    made = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info(INPUT, _TYPES[dtype], [BATCH, *shape])],
        outputs,
        [*graph.initializer, *constants],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=part.ir_version)
    try:
        onnx.checker.check_model(model, full_check=True)
    # Shapes that do not fit are told by an error of another kind.
    except Exception as error:
        raise ConversionError(
            f"expected a network that can be cut at {[tap.label for tap in taps]}, found: "
            f"{str(error).strip().splitlines()[0][:200]}. Convert with taps='last', or export the model again."
        ) from error
    return bytes(model.SerializeToString())


def _cut_off(network: onnx.ModelProto, taps: Sequence[OnnxTap]) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(network)
    del part.graph.output[:]
    for name in dict.fromkeys(tap.tensor for tap in taps):
        part.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    drop_unused(part)
    return part


def _simplified(part: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "simple.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ConversionError(
                f"expected a network that ONNX Runtime {onnxruntime.__version__} loads, found: "
                f"{str(error).strip()[:300]} Export the model again."
            ) from error
        simple = onnx.load(target)
    if any(node.domain not in ("", "ai.onnx") for node in simple.graph.node):
        return part
    opset = next(entry.version for entry in simple.opset_import if entry.domain in ("", "ai.onnx"))
    del simple.opset_import[:]
    simple.opset_import.append(helper.make_opsetid("", opset))
    simple.ir_version = part.ir_version
    drop_unused(simple)
    return simple


def _rename(part: onnx.ModelProto) -> dict[str, str]:
    """Put every name of the network under one of its own, so that none meets those around it."""
    graph = part.graph
    names = {"": ""}
    values = [*(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)]
    for name in [*values, *(name for node in graph.node for name in node.output)]:
        names.setdefault(name, f"{_NETWORK}/{name}")
    for item in [*graph.input, *graph.output, *graph.initializer]:
        item.name = names[item.name]
    for i, node in enumerate(graph.node):
        node.name = f"{_NETWORK}/{node.op_type}_{i}"
        for side in (node.input, node.output):
            renamed = [names[name] for name in side]
            del side[:]
            side.extend(renamed)
    return names


def _pool(
    tensor: str, tap: OnnxTap, opset: int, place: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Return the nodes that pool a tensor over its positions, their constants, and the name of the result."""
    rank, name = len(tap.shape) + 1, f"taps/{place}"
    if rank == 2:
        return [], [], tensor
    if rank == 4 and tap.axis == 1:
        kind = "GlobalMaxPool" if tap.pool == "max" else "GlobalAveragePool"
        pooled = helper.make_node(kind, [tensor], [f"{name}/pooled"], name=f"{name}/{kind}")
        return (
            [pooled, helper.make_node("Flatten", [f"{name}/pooled"], [name], name=f"{name}/Flatten", axis=1)],
            [],
            name,
        )
    axes = [i for i in range(1, rank) if i != tap.axis]
    kind = "ReduceMax" if tap.pool == "max" else "ReduceMean"
    if opset < _AXES_AS_INPUT:
        return [helper.make_node(kind, [tensor], [name], name=f"{name}/{kind}", axes=axes, keepdims=0)], [], name
    constant = numpy_helper.from_array(np.array(axes, np.int64), f"{name}/axes")
    node = helper.make_node(kind, [tensor, constant.name], [name], name=f"{name}/{kind}", keepdims=0)
    return [node], [constant], name
