"""Every operator that a tail may hold computes what ONNX Runtime does, at any batch size, and has a gradient."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from onnx import helper

from acclimate.converters.onnx_source.batch import free_batch
from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.converters.onnx_source.graph import Network
from acclimate.converters.onnx_source.head import find_onnx_head
from acclimate.converters.onnx_source.latent import head_input
from acclimate.converters.onnx_source.rules import RULES
from acclimate.converters.onnx_source.tail import OnnxTailPart, build_tail, find_tail
from acclimate.converters.training import compile_training

from .onnx_networks import between, normal

pytestmark = pytest.mark.needs_torch
Weights = dict[str, NDArray[Any]]


def node(kind: str, inputs: str = "a", outputs: str = "b", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"{kind} {outputs}", **attributes)


def whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def positive() -> onnx.NodeProto:
    return node("Abs", "a", "p")


def tail_of(content: bytes, cut: str = "front") -> tuple[OnnxTailPart, onnxruntime.InferenceSession]:
    """Return what lies behind a cut, and a session that gives the cut and the output."""
    file = parse_onnx(content)
    network = Network(free_batch(file.model, (3, 8, 8)), 2)
    head = find_onnx_head(network, "test.onnx")
    found = find_tail(network, "test.onnx", head, head_input(network, head, file), cut)
    part = build_tail(found, normal(3, 3, 8, 8))
    model = onnx.load_from_string(content)
    model.graph.output.append(helper.make_tensor_value_info(found.cut.tensor, onnx.TensorProto.FLOAT, None))
    return part, onnxruntime.InferenceSession(model.SerializeToString())


def check(content: bytes) -> OnnxTailPart:
    """Compare logits for 1 and 5 samples, and look that every weight has a gradient."""
    part, session = tail_of(content)
    for n in (1, 5):
        logits, maps = session.run(None, {"x": normal(n, 3, 8, 8, seed=7)})
        found = part.module(torch.from_numpy(maps))
        np.testing.assert_allclose(found.detach().numpy(), logits, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(found.square().sum(), list(part.module.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    return part


SAME = [
    *(node(kind) for kind in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Neg", "Abs", "Softplus", "Softsign")),
    *(node(kind) for kind in ("HardSwish", "Mish", "Identity", "HardSigmoid", "LeakyRelu", "Elu", "Gelu")),
    node("HardSigmoid", alpha=1 / 6),
    node("Gelu", approximate="tanh"),
    node("Softmax", axis=1),
    node("LogSoftmax", axis=-1),
]
TWO: list[tuple[list[onnx.NodeProto], Weights]] = [
    ([positive(), node("Sqrt", "p")], {}),
    ([positive(), node("Add", "p one", "q"), node("Log", "q")], {"one": np.ones((), np.float32)}),
    ([positive(), node("Add", "p one", "q"), node("Reciprocal", "q")], {"one": np.ones((), np.float32)}),
    ([node("Pow", "a two")], {"two": np.array(2, np.float32)}),
    ([node("Clip", "a low high")], {"low": np.array(-1, np.float32), "high": np.array(0.5, np.float32)}),
    ([node("Clip", "a low")], {"low": np.array(0, np.float32)}),
    ([node("PRelu", "a slope")], {"slope": normal(4, 1, 1)}),
    ([node("Relu", "a", "r"), node("Sum", "a r a")], {}),
    ([node("Relu", "a", "r"), node("Mean", "a r")], {}),
    ([node("Relu", "a", "r"), node("Sub", "r a")], {}),
    ([node("Sigmoid", "a", "r"), node("Mul", "r a")], {}),
    ([positive(), node("Add", "p one", "q"), node("Div", "a q")], {"one": np.ones((), np.float32)}),
    ([node("Sigmoid", "a", "r"), node("Max", "a r", "m"), node("Min", "m r")], {}),
    ([node("Where", "mask a zero")], {"mask": normal(8, 8) > 0, "zero": np.zeros((), np.float32)}),
    ([node("Mul", "a scale", "s"), node("Add", "s shift")], {"scale": normal(4, 1, 1), "shift": normal(4, 1, 1)}),
    ([node("Dropout", "a ratio")], {"ratio": np.array(0.5, np.float32)}),
    ([node("Cast", "a", to=onnx.TensorProto.FLOAT)], {}),
]
LAYERS: list[tuple[list[onnx.NodeProto], Weights]] = [
    ([node("Conv", "a k")], {"k": normal(6, 4, 3, 3), "channels": np.array(6)}),
    ([node("Conv", "a k v", pads=[1, 1, 1, 1], group=4)], {"k": normal(4, 1, 3, 3), "v": normal(4)}),
    ([node("Conv", "a k", group=2, strides=[2, 1])], {"k": normal(6, 2, 2, 3), "channels": np.array(6)}),
    ([node("Conv", "a k", dilations=[2, 2], pads=[0, 1, 2, 3])], {"k": normal(4, 4, 3, 3)}),
    ([node("Conv", "a k", auto_pad="SAME_UPPER", strides=[3, 3])], {"k": normal(4, 4, 4, 4)}),
    ([node("Conv", "a k", auto_pad="SAME_LOWER")], {"k": normal(4, 4, 2, 2)}),
    ([node("Conv", "a k", auto_pad="VALID")], {"k": normal(4, 4, 2, 2)}),
    ([node("BatchNormalization", "a s t m v")], {n: abs(normal(4, seed=i)) + 0.5 for i, n in enumerate("stmv")}),
    ([node("InstanceNormalization", "a s t")], {"s": normal(4), "t": normal(4)}),
    ([node("LayerNormalization", "a s t", axis=-1)], {"s": normal(8), "t": normal(8)}),
    ([node("LayerNormalization", "a s", axis=1)], {"s": normal(4, 8, 8)}),
    ([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    ([node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    ([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}),
    ([node("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1)], {}),
    ([node("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER")], {}),
    ([node("GlobalMaxPool", "a", "g"), node("Mul", "a g")], {}),
    ([node("ReduceMean", "a axes", "g", keepdims=1), node("Sub", "a g")], {"axes": whole(1)}),
    ([node("ReduceMax", "a axes", "g"), node("Sub", "a g")], {"axes": whole(2, 3)}),
    ([node("ReduceL2", "a axes", "g"), node("Div", "a g")], {"axes": whole(-3)}),
    ([node("MatMul", "a w0")], {"w0": normal(8, 8)}),
    ([node("MatMul", "w0 a")], {"w0": normal(8, 8)}),
    ([node("Einsum", "a w0", equation="nchw,wv->nchv")], {"w0": normal(8, 8)}),
]
MOVES: list[tuple[list[onnx.NodeProto], Weights]] = [
    ([node("Transpose", perm=[0, 1, 3, 2])], {}),
    ([node("Reshape", "a shape")], {"shape": whole(0, 4, 16, 4)}),
    (
        [node("Reshape", "a shape", "r"), node("Reshape", "r back")],
        {"shape": whole(-1, 64), "back": whole(-1, 4, 8, 8)},
    ),
    ([node("Shape", "a", "l"), node("Reshape", "a l")], {}),
    ([node("Unsqueeze", "a ax", "u"), node("Squeeze", "u ax")], {"ax": whole(1)}),
    ([node("Relu", "a", "r"), node("Concat", "a r", axis=1)], {"channels": np.array(8)}),
    ([node("Split", "a sizes", "s t", axis=1), node("Concat", "t s", axis=1)], {"sizes": whole(1, 3)}),
    ([node("Split", "a", "s t", axis=1, num_outputs=2), node("Mul", "s t")], {"channels": np.array(2)}),
    (
        [node("Slice", "a f t ax st")],
        {"f": whole(1, -6), "t": whole(3, 9999), "ax": whole(1, 2), "st": whole(1, 2), "channels": np.array(2)},
    ),
    ([node("Gather", "a i", "g", axis=2), node("Unsqueeze", "g ax")], {"i": np.array(-1, np.int64), "ax": whole(2)}),
    ([node("Gather", "a i", axis=1)], {"i": whole(2, 0, 1), "channels": np.array(3)}),
    ([node("Gather", "a i", axis=1)], {"i": whole(1, 2), "channels": np.array(2)}),
    ([node("Pad", "a pads value")], {"pads": whole(0, 0, 1, 0, 0, 0, 0, 2), "value": np.array(0.5, np.float32)}),
    ([node("Expand", "t0 shape", "e"), node("Add", "a e")], {"t0": normal(1, 4, 1, 1), "shape": whole(1, 4, 8, 8)}),
]


@pytest.mark.parametrize("operator", SAME, ids=lambda one: one.op_type)
def test_what_keeps_the_shape(operator: onnx.NodeProto) -> None:
    """Activations and the like."""
    check(between([operator], {}))


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [*TWO, *LAYERS, *MOVES],
    ids=lambda one: "-".join(n.op_type for n in one) if isinstance(one, list) else "",
)
def test_operators(nodes: list[onnx.NodeProto], weights: Weights) -> None:
    """Arithmetic, layers, pooling, and what moves values about."""
    check(between(nodes, dict(weights)))


def test_every_rule_is_tried() -> None:
    """No operator has a rule that the tests above leave out, but for those of other opsets and of the usual end."""
    tried = {n.op_type for nodes, _ in [*TWO, *LAYERS, *MOVES] for n in nodes} | {one.op_type for one in SAME}
    usual = {"Gemm", "GlobalAveragePool", "Flatten"}
    assert set(RULES) - tried - usual == {"ReduceMin", "ReduceSum", "ReduceSumSquare", "GroupNormalization", "Swish"}


def test_what_trains_is_told_by_what_takes_it() -> None:
    """Kernels, norms, scales and shifts per channel train under the file's names; statistics, masks, bounds do not."""
    nodes = [
        node("Conv", "a k v", "c1"),
        node("BatchNormalization", "c1 s t m u", "n"),
        node("Mul", "n layer.scale", "q"),
        node("Add", "q mask", "r"),
        node("Clip", "r low high", "b"),
    ]
    mask = np.where(np.tri(8, dtype=bool), 0, -np.inf).astype(np.float32)[None, None]
    weights: Weights = {"k": normal(4, 4, 1, 1), "v": normal(4), "layer.scale": normal(4, 1, 1), "mask": mask}
    weights |= {name: abs(normal(4, seed=i)) + 0.5 for i, name in enumerate("stmu")}
    weights |= {"low": np.array(-6, np.float32), "high": np.array(6, np.float32)}
    part = check(between(nodes, weights))
    names = {name for name, _ in part.module.named_parameters()}
    assert names == {"k", "v", "s", "t", "layer.scale", "last", "w", "bias"}
    assert (part.weight, part.bias) == ("w", "bias")
    assert part.notes == ("1 batch normalisations keep their running statistics.",)


def test_equal_vectors_that_an_exporter_stored_once_train_apart() -> None:
    """Zeros as the bias of two convolutions, one of them in front of the cut."""
    nodes = [node("Conv", "a k z", "c1"), node("Relu", "c1", "r1"), node("Conv", "r1 k2 z")]
    content = between(nodes, {"k": normal(4, 4, 1, 1), "k2": normal(4, 4, 1, 1, seed=5), "z": np.zeros(4, np.float32)})
    names = {name for name, _ in check(content).module.named_parameters()}
    assert {"z", "z@2"} < names


def test_the_compiled_step_takes_them() -> None:
    """A depthwise convolution padded on one side, gates, norms and slices: compiled, and checked against PyTorch."""
    nodes = [
        node("Conv", "a k", "d", group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
        node("HardSwish", "d", "h"),
        node("ReduceMean", "h axes", "g", keepdims=1),
        node("HardSigmoid", "g", "gate", alpha=0.2),
        node("Mul", "h gate", "m"),
        node("Slice", "m f t ax", "b"),
    ]
    weights: Weights = {"k": normal(4, 1, 3, 3), "axes": whole(2, 3), "f": whole(1), "t": whole(4), "ax": whole(1)}
    part, _ = tail_of(between(nodes, {**weights, "channels": np.array(3)}))
    compiled = compile_training(part.module, torch.from_numpy(normal(4, 4, 8, 8)), head=(part.weight, part.bias))
    assert compiled.difference.gradient < 1e-4
    assert [p.name for p in compiled.spec.parameters] == ["k", "last", "w", "bias"]
