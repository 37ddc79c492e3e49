"""Write a differentiated tail as an ordinary ONNX model."""

import operator
from collections.abc import Sequence
from typing import Any, cast

import onnx
import torch
from onnx import helper
from torch import Tensor, fx

from ...errors import ConversionError
from .capture import describe
from .differentiate import Program
from .onnx_ops import EMITTERS
from .onnx_writer import IR_VERSION, OPSET, TYPES, Held, Shape, Writer

BATCH = "n"


def emit(program: Program, name: str) -> bytes:
    """Write a program as ONNX.

    Args:
        program: The graph, with named inputs and outputs.
        name: The graph's name.

    Returns:
        The model: constants inside, the batch axis free, operations of the standard set only.

    Raises:
        ConversionError: If an operation has no form in ONNX here.
    """
    writer = Writer(program.inputs[0])
    values: dict[fx.Node, Any] = {}
    places = [node for node in program.graph.nodes if node.op == "placeholder"]
    for i, node in enumerate(places):
        shape = _shape(node.meta["val"])
        if i < len(program.inputs):
            values[node] = Held(program.inputs[i], shape, shape)
        elif node.users:
            values[node] = Held(writer.constant(program.constants[i - len(program.inputs)].numpy()), shape, shape)
    results: Sequence[Any] = ()
    for node in program.graph.nodes:
        if node.op == "call_function":
            values[node] = _emit(writer, node, values)
        elif node.op == "output":
            results = node.args[0]
    outputs = [(f, writer.materialise(values[node])) for f, node in zip(program.outputs, results, strict=True)]
    inputs = [_info(f, node.meta["val"]) for f, node in zip(program.inputs, places, strict=False)]
    infos = [_info(f, node.meta["val"]) for f, node in zip(program.outputs, results, strict=True)]
    return _finish(writer, name, inputs, infos, dict(outputs))


def _emit(writer: Writer, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    value = node.meta["val"]
    if node.target is operator.getitem:
        whole, place = cast(tuple[fx.Node, int], node.args)
        return values[whole][place]
    if not isinstance(value, Tensor | tuple | list):
        # A size; wherever it is used, the shape of the result says it.
        return value
    rule = EMITTERS.get(getattr(node.target, "overloadpacket", None))
    parts = [value] if isinstance(value, Tensor) else value
    odd = [str(part.dtype) for part in parts if isinstance(part, Tensor) and part.dtype not in TYPES]
    if rule is None or odd:
        raise ConversionError(
            f"expected operations that can be compiled into a training step, found {describe(node)}"
            f"{f' with numbers of type {odd[0]}' if odd else ''}, in the forward pass or in its gradient. "
            f"Cut behind it, or leave it in the backbone."
        )
    args = fx.map_arg(node.args, values.__getitem__)
    kwargs = {k: fx.map_arg(v, values.__getitem__) for k, v in node.kwargs.items()}
    kwargs = {k: v for k, v in kwargs.items() if k not in ("memory_format", "dtype", "layout", "device", "pin_memory")}
    if isinstance(value, Tensor):
        return rule(writer, node, _shape(value), *args, **kwargs)
    return rule(writer, node, [_shape(part) for part in value], *args, **kwargs)


def _shape(tensor: Tensor) -> Shape:
    return tuple(dim if isinstance(dim, int) else _times_batch(dim) for dim in tensor.shape)


def _times_batch(size: torch.SymInt) -> int:
    """Return -m for m times the batch."""
    expression: Any = size.node.expr
    if not expression.free_symbols:
        return int(expression)
    (symbol,) = expression.free_symbols
    once, thrice = int(expression.subs(symbol, 1)), int(expression.subs(symbol, 3))
    if thrice != 3 * once:
        raise ConversionError(
            f"expected tensors whose size is a multiple of the batch's, found one of {expression} rows for {symbol} "
            f"samples. Cut behind the operation that mixes samples."
        )
    return -once


def _info(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    dims = [BATCH if dim == -1 else dim for dim in _shape(tensor)]
    return helper.make_tensor_value_info(name, TYPES[tensor.dtype], dims)


def _finish(
    writer: Writer,
    name: str,
    inputs: list[onnx.ValueInfoProto],
    infos: list[onnx.ValueInfoProto],
    outputs: dict[str, str],
) -> bytes:
    nodes = _needed(writer.nodes, set(outputs.values()))
    made = {result for node in nodes for result in node.output}
    renamed: dict[str, str] = {}
    for wanted, found in outputs.items():
        if found in made and found not in renamed:
            renamed[found] = wanted
        else:
            nodes.append(helper.make_node("Identity", [found], [wanted], name=f"Identity_{len(nodes)}"))
    for node in nodes:
        for names in (node.input, node.output):
            for i, old in enumerate(names):
                names[i] = renamed.get(old, old)
    used = {value for node in nodes for value in node.input}
    constants = [tensor for key, tensor in writer.constants.items() if key in used]
    graph = helper.make_graph(nodes, name, inputs, infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "acclimate"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    # Results that nobody takes are not computed where the operation allows it.
    for node in kept:
        while len(node.output) > 1 and node.op_type == "LayerNormalization" and node.output[-1] not in wanted:
            node.output.pop()
    return kept[::-1]
