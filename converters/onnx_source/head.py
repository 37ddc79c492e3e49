"""Find the head of an ONNX network: the last linear layer, whose output is the network's output."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from ...errors import CutError
from .graph import LAYERS, Constant, Network, attributes, describe

Float32 = NDArray[np.float32]
# Behind the head these change the form of its output, or what only a classifier's user sees.
_AFTERWARDS = ("Softmax", "LogSoftmax", "Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast")
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_POOLING = ("GlobalAveragePool", "ReduceMean", "AveragePool")


@dataclass(frozen=True, eq=False)
class OnnxHead:
    """A head and what goes into it.

    Args:
        cut: Name of the tensor that goes in, ``(n, d)`` or a map ``(n, d, ...)`` that is averaged over its positions.
        weight: ``(k, d) float32``; ``(0, d)`` where the network ends in a vector and has no head.
        bias: ``(k,) float32``.
        label: Name of the cut for the manifest.
        note: What was found, in words.
    """

    cut: str
    weight: Float32
    bias: Float32
    label: str
    note: str


def find_onnx_head(network: Network, file: str) -> OnnxHead:
    """Find the head.

    Args:
        network: The network.
        file: Its file's name, for the message.

    Returns:
        The head.

    Raises:
        CutError: If no linear layer on one vector per sample makes the output; the message names the node.
    """
    at, pooled = network.result, False
    passed: list[onnx.NodeProto] = []
    scale, shift = np.ones(1), np.zeros(1)
    while True:
        node = network.makers.get(at)
        if node is None or not network.moving(node):
            raise CutError(f"{file}: expected a network whose output depends on its input, found none that does.")
        if node.op_type in ("Gemm", "MatMul", "Conv") and network.is_layer(node):
            break
        if node.op_type in (*_AFTERWARDS, *_QUANTIZING, *_POOLING):
            pooled |= node.op_type in _POOLING
            at = node.input[0]
        elif (step := _affine(network, node)) is not None:
            at, factor, term = step
            # Written from the output back: what comes first is inside.
            scale, shift = scale * factor, shift + scale * term
        else:
            raise CutError(_explain(network, node, passed, file))
        passed.append(node)
    if any(node.op_type in ("Softmax", "LogSoftmax") for node in passed) and pooled:
        first = next(i for i, one in enumerate(passed) if one.op_type in _POOLING)
        if any(one.op_type in ("Softmax", "LogSoftmax") for one in passed[first:]):
            raise CutError(f"{file}: expected averages in front of the softmax, found them behind. Swap the two.")
    cut, weight, bias = _LINEAR[node.op_type](network, node, pooled, file)
    for size in (scale.size, shift.size):
        if size not in (1, len(weight)):
            raise CutError(f"{file}: expected one number per output behind {describe(node)}, found {size}.")
    weight, bias = weight * np.broadcast_to(scale, len(weight))[:, None], bias * scale + shift
    _check_own(network, node, file)
    label = node.name or node.output[0]
    return OnnxHead(
        cut,
        np.ascontiguousarray(weight, np.float32),
        np.ascontiguousarray(np.broadcast_to(bias, len(weight)), np.float32),
        f"{label}:input",
        f"the head is {describe(node)}, {weight.shape[1]} to {weight.shape[0]}",
    )


def vector_output(network: Network, file: str, width: int) -> OnnxHead:
    """Take the output itself as the cut: a network that gives one vector per sample, and no classes."""
    empty = np.empty((0, width), np.float32)
    return OnnxHead(
        network.result, empty, np.empty(0, np.float32), network.result, f"{file} has no head: its output is the cut"
    )


def _affine(network: Network, node: onnx.NodeProto) -> tuple[str, Constant, Constant] | None:
    """Return what goes into a node that scales or shifts by a constant, with both; None for any other."""
    moving = network.moving(node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(moving) != 1 or len(node.input) != 2:
        return None
    constant = network.constant(node.input[1] if node.input[0] == moving[0] else node.input[0])
    if constant is None or constant.size != max(constant.shape, default=1):
        return None
    value, first = constant.astype(np.float64).reshape(-1), node.input[0] == moving[0]
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "Add":
        return moving[0], one, value
    if node.op_type == "Sub":
        return moving[0], one if first else -one, -value if first else value
    if node.op_type == "Mul":
        return moving[0], value, zero
    return (moving[0], 1 / value, zero) if first and value.all() else None


def _through(network: Network, name: str) -> str:
    """Step back over what only quantizes: a device stores the cut in 8 bits of its own."""
    node = network.makers.get(name)
    while node is not None and node.op_type in _QUANTIZING and network.moving(node):
        name = node.input[0]
        node = network.makers.get(name)
    return name


def _gemm(network: Network, node: onnx.NodeProto, pooled: bool, file: str) -> tuple[str, Constant, Constant]:
    told = attributes(node)
    weight = network.constant(node.input[1])
    offset = network.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
    if weight is None or offset is None or told.get("transA", 0) or node.input[0] not in network.live:
        raise CutError(f"{file}: expected weights that are constant in {describe(node)}, found that they are not.")
    weight = weight.astype(np.float64) * told.get("alpha", 1.0)
    weight = weight if told.get("transB", 0) else weight.T
    bias = np.broadcast_to(offset.astype(np.float64).reshape(-1) * told.get("beta", 1.0), len(weight))
    return _through(network, node.input[0]), weight, bias


def _matmul(network: Network, node: onnx.NodeProto, pooled: bool, file: str) -> tuple[str, Constant, Constant]:
    weight = network.constant(node.input[1])
    shape = network.shapes.get(node.input[0], ())
    if weight is None or weight.ndim != 2:
        raise CutError(f"{file}: expected a weight (d, k) in the head {describe(node)}, found none. Use a Gemm.")
    if len(shape) != 2 and any(length != 1 for length in shape[1:-1]):
        raise CutError(
            f"{file}: expected the head {describe(node)} to take one vector (n, d) per sample, found {shape}. "
            f"Average over positions in front of it."
        )
    return _through(network, node.input[0]), weight.T.astype(np.float64), np.zeros(weight.shape[1])


def _conv(network: Network, node: onnx.NodeProto, pooled: bool, file: str) -> tuple[str, Constant, Constant]:
    told = attributes(node)
    weight = network.constant(node.input[1])
    offset = network.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    plain = weight is not None and set(weight.shape[2:]) <= {1} and told.get("group", 1) == 1
    plain = plain and set(told.get("strides", [1])) <= {1} and not any(told.get("pads", [0]))
    if not plain or weight is None:
        raise CutError(
            f"{file}: expected a head that is linear in one vector per sample, found {describe(node)}, a convolution "
            f"over several positions. End the network in a Gemm, or in a 1x1 convolution."
        )
    spatial = network.shapes.get(node.input[0], ())[2:]
    if not pooled and any(length != 1 for length in spatial):
        raise CutError(
            f"{file}: expected one prediction per sample, found one for each of the positions {spatial} of the head "
            f"{describe(node)}. Average over positions."
        )
    flat = weight.reshape(weight.shape[0], -1).astype(np.float64)
    bias = np.zeros(len(flat)) if offset is None else offset.astype(np.float64)
    return _through(network, node.input[0]), flat, bias


_Linear = Callable[[Network, onnx.NodeProto, bool, str], tuple[str, Constant, Constant]]
_LINEAR: dict[str, _Linear] = {"Gemm": _gemm, "MatMul": _matmul, "Conv": _conv}


def _check_own(network: Network, head: onnx.NodeProto, file: str) -> None:
    for name in head.input[1:]:
        others = [node for node in network.uses(name) if node is not head]
        maker = network.makers.get(name)
        if not others and maker is not None:
            others = [node for given in maker.input[:1] for node in network.uses(given) if node is not maker]
        weight = network.constant(name)
        if others and weight is not None and weight.ndim >= 2:
            raise CutError(
                f"{file}: expected the head {describe(head)} to have a weight of its own, found that "
                f"{describe(others[0])} shares {name!r}, so the head cannot change alone. Give it a copy."
            )


def _explain(network: Network, node: onnx.NodeProto, passed: list[onnx.NodeProto], file: str) -> str:
    layer = next((one for one in reversed(network.model.graph.node) if network.is_layer(one)), None)
    last = f" Its last layer with weights is {describe(layer)}." if layer is not None else " It has no linear layer."
    behind = f", in front of {describe(passed[-1])}" if passed else ""
    kinds = ", ".join(LAYERS[:1] + LAYERS[2:])
    return (
        f"{file}: expected an output that a linear layer ({kinds}) makes, found {describe(node)}{behind}.{last} Cut "
        f"the file behind that layer (onnx.utils.extract_model), or, where it ends in one vector per sample, take that "
        f"as the latent: head='fit' or head=None."
    )
