"""Bias correction in ONNX: rounding shifts the mean of every channel, and the bias takes it back.

The layers are corrected in the order of the graph, each with all before it corrected. On EfficientNet-Lite0 and photos
of solar cells this brings the centred cosine of 8 bits from .935 to .995. Correcting all at once, by what one run
shows, leaves .37: every layer takes back what those before it have taken back. What the rounded weights alone shift,
with inputs in float, gives .978.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ..graph_names import INPUT

# Samples that the means are taken over; of 8, 16, 32 and 64 the last three were alike.
SHOWN, _BATCH = 16, 8
_LIMIT = 2**31 - 1


def correct_biases_onnx(float_model: ModelProto, content: bytes, samples: NDArray[np.generic]) -> bytes:
    """Shift the biases of a quantized backbone until the mean of every channel is that of the float one.

    Convolutions and linear layers with a bias are corrected; those without one stay as they are.

    Args:
        float_model: The model in float.
        content: The same in 8 bits, some of its layers perhaps in float; its nodes have the names of the float model's.
        samples: ``(n, ...)`` raw samples, of which the first 16 are used.

    Returns:
        The corrected ONNX file.

    References:
        Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", empirical variant.
    """
    shown = samples[:SHOWN]
    model = onnx.load_from_string(content)
    biases = _biases(model.graph)
    outputs = {node.name: node.output[0] for node in float_model.graph.node if node.name in biases}
    if not outputs:
        return content
    wanted = _means(float_model, list(outputs.values()), shown)
    for name, bias in biases.items():
        if name not in outputs:
            continue
        made = next(node.output[0] for node in model.graph.node if node.name == name)
        found = _means(_upto(model, made), [made], shown)[made]
        bias.shift(wanted[outputs[name]] - found)
    return bytes(model.SerializeToString())


def shifted(bias: NDArray[Any], by: NDArray[np.float64], scale: NDArray[np.float32] | None) -> NDArray[Any]:
    """Return a bias with a number added to each channel.

    Args:
        bias: ``(c,)`` float32, or int32 in steps of `scale`.
        by: ``(c,)`` what to add.
        scale: ``(c,)`` or ``(1,)``, or None where the bias is in float. A channel whose scale is 0 stays as it is.
    """
    if scale is None:
        moved: NDArray[Any] = (bias + by).astype(bias.dtype)
        return moved
    steps = np.divide(by, scale, out=np.zeros_like(by), where=np.broadcast_to(scale, by.shape) > 0)
    whole: NDArray[Any] = np.clip(bias + np.rint(steps), -_LIMIT, _LIMIT).astype(np.int32)
    return whole


@dataclass(frozen=True, eq=False)
class _Bias:
    """A bias in a graph, in float or in 32 bits with a scale."""

    values: TensorProto
    scale: NDArray[np.float32] | None

    def shift(self, by: NDArray[np.float64]) -> None:
        old = numpy_helper.to_array(self.values)
        self.values.CopyFrom(numpy_helper.from_array(shifted(old, by, self.scale), self.values.name))


def _biases(graph: onnx.GraphProto) -> dict[str, _Bias]:
    """Return the biases that no other layer shares, by the name of their layer, in the order of the graph."""
    given = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    taken = [name for node in graph.node for name in node.input]
    found = {}
    for node in graph.node:
        # Of a product of matrices the output's channels are the last dimension, and a bias is a node of its own.
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        place, scale, maker = node.input[2], None, made_by.get(node.input[2])
        if maker is not None and maker.op_type == "DequantizeLinear" and taken.count(node.input[2]) == 1:
            place, scale = maker.input[0], given.get(maker.input[1])
        tensor = given.get(place)
        if tensor is None or len(tensor.dims) != 1 or taken.count(place) != 1 or (maker is not None and scale is None):
            continue
        found[node.name] = _Bias(tensor, None if scale is None else numpy_helper.to_array(scale))
    return found


def _means(model: ModelProto, names: list[str], samples: NDArray[np.generic]) -> dict[str, NDArray[np.float64]]:
    """Return the mean of each channel, the second dimension, of some tensors."""
    watched = ModelProto()
    watched.CopyFrom(model)
    there = {value.name for value in watched.graph.output}
    added = [onnx.helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in there]
    watched.graph.output.extend(added)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, ["CPUExecutionProvider"])
    totals: dict[str, NDArray[np.float64]] = {}
    for i in range(0, len(samples), _BATCH):
        batch = np.ascontiguousarray(samples[i : i + _BATCH])
        for name, values in zip(names, session.run(names, {INPUT: batch}), strict=True):
            others = tuple(k for k in range(values.ndim) if k != 1)
            mean = values.mean(axis=others, dtype=np.float64)
            totals[name] = totals.get(name, np.zeros_like(mean)) + mean * (len(batch) / len(samples))
    return totals


def _upto(model: ModelProto, name: str) -> ModelProto:
    """Return the part of a model that one tensor follows from, with nothing else as its output."""
    made_by: dict[str, NodeProto] = {output: node for node in model.graph.node for output in node.output}
    needed: set[str] = set()
    waiting = [name]
    while waiting:
        tensor = waiting.pop()
        if tensor in needed:
            continue
        needed.add(tensor)
        if tensor in made_by:
            waiting += made_by[tensor].input
    graph = model.graph
    part = onnx.helper.make_graph(
        [node for node in graph.node if needed.intersection(node.output)],
        "upto",
        list(graph.input),
        [],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    return onnx.helper.make_model(part, opset_imports=list(model.opset_import), ir_version=model.ir_version)
