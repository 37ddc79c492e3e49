"""Heads, layouts, sizes and opsets that ONNX files come with: each computes what the file does."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
from onnx import helper

from acclimate.errors import CutError, InputError

from .onnx_files import built, check_parity, frames, logits, normal, prepared, ready, reference

pytestmark = pytest.mark.needs_torch


def test_a_convolution_as_head_with_pooling_and_softmax_behind(tmp_path: Path) -> None:
    """The average goes in front of the head, where it computes the same; the softmax goes away."""
    weights = {"w1": normal(6, 3, 3, 3), "w2": normal(4, 6, 1, 1, seed=1), "b2": normal(4, seed=2)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["c"], name="classifier"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    content, x = built(nodes, weights, ("n", 3, 9, 9)), normal(12, 3, 9, 9)
    found = ready(content, x)
    assert found.split.cut == "classifier:input"
    # What the head takes is the only map there is: a tap would repeat it.
    assert [tap.width for tap in found.split.taps] == [6]
    scores = np.exp(logits(found))
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), reference(content, x), rtol=1e-3, atol=1e-5)
    check_parity(found, x)


def test_scales_behind_the_head_are_taken_into_it() -> None:
    """Bias, temperature and shift behind a matrix product: weight and bias of the head are those of the whole."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["b", "a"], ["c"]),
        helper.make_node("Div", ["c", "t"], ["d"]),
        helper.make_node("Sub", ["s", "d"], ["y"]),
    ]
    weights = {"w": normal(5, 3), "b": normal(3, seed=1), "t": np.array([2.5], np.float32), "s": normal(3, seed=2)}
    content, x = built(nodes, weights, ("n", 5)), normal(12, 5)
    found = ready(content, x)
    np.testing.assert_allclose(logits(found), reference(content, x), rtol=1e-5, atol=1e-6)


def test_channels_last_and_bytes_are_taken_as_they_are() -> None:
    """A file of TensorFlow's kind takes (n, height, width, channels); one with a Cast in front takes raw frames."""
    tail = [
        helper.make_node("Transpose", ["x32"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"]),
    ]
    weights = {"w1": normal(6, 3, 3, 3), "w2": normal(6, 4, seed=1)}
    raw = frames(12, 10, 12, 3)
    plain = built([helper.make_node("Identity", ["x"], ["x32"]), *tail], weights, ("n", 10, 12, 3))
    found = ready(plain, raw, mean=0.5, std=0.25)
    expected = reference(plain, ((raw.astype(np.float32) / 255 - 0.5) / 0.25).astype(np.float32))
    np.testing.assert_allclose(logits(found), expected, rtol=1e-3, atol=1e-4)
    check_parity(found, raw)
    model = onnx.load_from_string(plain)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    model.graph.node[0].CopyFrom(helper.make_node("Cast", ["x"], ["x32"], to=onnx.TensorProto.FLOAT))
    found = ready(model.SerializeToString(), raw)
    assert found.raw.spec.dtype == "uint8"
    np.testing.assert_allclose(logits(found), reference(plain, raw.astype(np.float32)), rtol=1e-3, atol=1e-2)
    check_parity(found, raw)
    with pytest.raises(InputError, match="takes raw uint8 frames"):
        ready(model.SerializeToString(), raw, mean=0.5)


def test_open_height_and_width_are_those_of_the_frames() -> None:
    """Other axes than the batch that a file leaves open are fixed to the frames, or to `resize`."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"]),
    ]
    content = built(nodes, {"w1": normal(6, 3, 3, 3), "w2": normal(6, 4)}, ("n", 3, "h", "w"))
    raw = frames(12, 10, 12, 3)
    for resize, size in ((None, (10, 12)), ((8, 8), (8, 8))):
        found = ready(content, raw, resize=resize)
        expected = reference(content, prepared(raw, size, 0.0, 1.0))
        np.testing.assert_allclose(logits(found), expected, rtol=1e-3, atol=1e-4)
        check_parity(found, raw)


def test_an_old_opset_is_brought_up_to_date() -> None:
    """A file of opset 9 runs as before; its weights, listed among the inputs as of old, are no inputs."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Dropout", ["a"], ["d"], ratio=0.5),
        helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Squeeze", ["p"], ["f"], axes=[2, 3]),
        helper.make_node("Gemm", ["f", "w2", "b"], ["y"], alpha=0.5, beta=2.0),
    ]
    weights = {"w1": normal(6, 3, 3, 3), "w2": normal(6, 4), "b": normal(4)}
    model = onnx.load_from_string(built(nodes, weights, (1, 3, 9, 9), opset=9))
    model.ir_version = 3
    for name, value in weights.items():
        model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))
    content, x = bytes(model.SerializeToString()), normal(12, 3, 9, 9)
    found = ready(content, x)
    np.testing.assert_allclose(logits(found), reference(content, x), rtol=1e-3, atol=1e-4)
    check_parity(found, x)


def test_a_file_without_a_head_gives_its_vector() -> None:
    """A network that ends in a normalised vector is refused with a head, and without one its output is the cut."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("ReduceL2", ["r"], ["l"], axes=[1], keepdims=1),
        helper.make_node("Div", ["r", "l"], ["y"], name="normalise"),
    ]
    content, x = built(nodes, {"w": normal(5, 6)}, ("n", 5)), normal(12, 5)
    with pytest.raises(CutError, match=r"found Div 'normalise'.*head='fit' or head=None"):
        ready(content, x)
    found = ready(content, x, keeps_head=False)
    assert found.split.taps[-1].width == 6
    assert "no head" in found.notes[0]
    np.testing.assert_allclose(found.original.latents[:, -6:], reference(content, x), rtol=1e-4, atol=1e-5)
    check_parity(found, x)
