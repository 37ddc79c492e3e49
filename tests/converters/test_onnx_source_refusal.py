"""ONNX files and data that cannot be taken are refused before anything runs, with the node or tensor named."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
from onnx import helper

from acclimate.converters.onnx_source.file import parse_onnx
from acclimate.errors import CalibrationError, ConversionError, CutError, InputError

from .onnx_files import Float32, W, built, frames, gemm, normal, ready

pytestmark = pytest.mark.needs_torch


def branch() -> onnx.NodeProto:
    one = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["o"])], "one", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    return helper.make_node("If", ["c"], ["h"], name="choose", then_branch=one, else_branch=one)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", ConversionError, "found none|truncated"),
        (b"not an onnx file at all", ConversionError, "expected an ONNX file, found that .* Copy or export"),
        (built(gemm(), W, ("n", 5))[:-40], ConversionError, "ends in the middle of a field|fit their shape"),
        (
            built([helper.make_node("Magic", ["x"], ["h"], name="spell", domain="my.ops"), *gemm()], W, ("n", 5)),
            CutError,
            "found Magic 'spell' of the domain 'my.ops'",
        ),
        (
            built([helper.make_node("Magic", ["x"], ["h"], name="spell"), *gemm()], W, ("n", 5)),
            CutError,
            "found Magic 'spell', which onnx .* does not know",
        ),
        (
            built([branch(), *gemm()], {**W, "c": np.array(True)}, ("n", 5)),
            CutError,
            "without control flow, found If 'choose'",
        ),
        (
            built([helper.make_node("RandomNormalLike", ["x"], ["h"], name="noise"), *gemm()], W, ("n", 5)),
            CutError,
            "RandomNormalLike 'noise', which is random",
        ),
        (built([*gemm(), helper.make_node("Relu", ["y"], ["z"])], W, ("n", 5), ("y", "z")), CutError, "2: 'y' .*'z'"),
        (
            built(gemm(), {"w": np.full((5, 3), np.nan, np.float32)}, ("n", 5)),
            ConversionError,
            "NaN or infinity in 'w', which Gemm 'fc'",
        ),
        (built(gemm(), W, ("n", 2**40)), ConversionError, "expected tensors of at most"),
        (
            built(
                [
                    helper.make_node("ConstantOfShape", ["s"], ["h"], name="bomb"),
                    helper.make_node("Add", ["x", "h"], ["y"]),
                ],
                {"s": np.array([2**20, 2**20], np.int64)},
                ("n", 5),
            ),
            ConversionError,
            "found \"ConstantOfShape 'bomb'\"|found .*bomb",
        ),
        (
            built(gemm(), W, ("n", 5), opset=99),
            ConversionError,
            r"an opset from 13 to 21, or one that onnx .* knows \(1 to \d+\) and brings there, found 99\. "
            "Export the model again with opset 17 .*, or update onnx",
        ),
        (
            built(gemm(), W, ("n", 5), opset=5),
            ConversionError,
            "opset from 13 to 21, found 5, which onnx cannot bring to 13: Gemm in opset version 6 .* Export",
        ),
        (built(gemm(), W, (5,)), CutError, r"expected an input \(n, ...\)"),
    ],
    ids=["empty", "no onnx", "truncated", "custom operator", "unknown operator", "control flow", "random",
         "two outputs", "nan", "huge", "bomb", "opset too new", "opset too old", "no batch"],
)  # fmt: skip
def test_bad_files_are_refused_before_anything_runs(content: bytes, error: type[Exception], message: str) -> None:
    """Each refusal names the node or the tensor, and shows nothing of the code that found it."""
    with pytest.raises(error, match=message) as caught:
        parse_onnx(content)
    assert "Assertion" not in str(caught.value)


def test_external_data_is_never_opened(tmp_path: Path) -> None:
    """A tensor that names a file of the machine is refused."""
    model = onnx.load_from_string(built(gemm(), W, ("n", 5)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ConversionError, match=r"in other files, which are never opened\..*external_data=False"):
        parse_onnx(model.SerializeToString())


def test_two_inputs_are_refused_with_their_names() -> None:
    model = onnx.load_from_string(built(gemm(), W, ("n", 5)))
    model.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["n", 7]))
    with pytest.raises(CutError, match=r"one input, found 2: 'x' \(None, 5\), 'mask' \(None, 7\)"):
        parse_onnx(model.SerializeToString())


def relu_behind() -> bytes:
    return built(
        [helper.make_node("Gemm", ["x", "w"], ["a"], name="fc"), helper.make_node("Relu", ["a"], ["y"])], W, ("n", 5)
    )


def shared() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="last"),
    ]
    return built(nodes, {"w": normal(5, 5)}, ("n", 5))


def per_position() -> bytes:
    return built([helper.make_node("Conv", ["x", "w"], ["y"], name="map")], {"w": normal(4, 3, 1, 1)}, ("n", 3, 6, 6))


@pytest.mark.parametrize(
    ("content", "samples", "message"),
    [
        (relu_behind(), normal(12, 5), "found Relu .*Its last layer with weights is Gemm 'fc'"),
        (shared(), normal(12, 5), "MatMul 'first' shares 'w'"),
        (per_position(), normal(12, 3, 6, 6), r"one for each of the positions \(6, 6\) of the head Conv 'map'"),
    ],
    ids=["no head", "shared", "per position"],
)
def test_files_that_cannot_be_split_say_why(content: bytes, samples: Float32, message: str) -> None:
    with pytest.raises(CutError, match=message):
        ready(content, samples)


def test_data_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """Shape, size, kind of data, and what an ONNX file has no way to."""
    flat, map_ = built(gemm(), W, ("n", 5)), per_position()
    with pytest.raises(CalibrationError, match=r"\(5,\) float32, found \(4,\) float32"):
        ready(flat, normal(12, 4))
    with pytest.raises(CalibrationError, match=r"found frames \(8, 8, 3\) uint8"):
        ready(flat, frames(12, 8, 8, 3))
    with pytest.raises(InputError, match=r"expected resize 6x6, the size that model\.onnx takes, found 8x8"):
        ready(map_, frames(12, 8, 8, 3), resize=(8, 8))
    with pytest.raises(InputError, match=r"found 6 in \(3, 6, 6\)\. These have channels first: frames\.transpose"):
        ready(map_, frames(12, 3, 6, 6))
    with pytest.raises(CalibrationError, match="at least 8"):
        ready(flat, normal(4, 5))
    with pytest.raises(ConversionError, match="TFLite was asked for"):
        ready(flat, normal(12, 5), runtimes=("onnx", "tflite"))


def test_a_batch_that_cannot_be_freed_is_found_out() -> None:
    """A file that mixes what belongs to several samples gives other latents alone than in a batch."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["a", "m"], ["s"]),
        helper.make_node("Gemm", ["s", "v"], ["y"]),
    ]
    with pytest.raises(CutError, match="alone and in a batch"):
        ready(built(nodes, {"w": normal(5, 6), "v": normal(6, 3)}, ("n", 5)), normal(12, 5))
