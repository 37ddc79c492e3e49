"""An ONNX file of unknown origin becomes a backbone: head and taps are found, and the latents are the file's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from acclimate.converters.onnx_source.file import OnnxFile, parse_onnx
from acclimate.converters.onnx_source.split import OnnxOriginal, OnnxSplit, split_onnx
from acclimate.converters.original import BATCHES, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.preprocess import FramePreprocess
from acclimate.converters.quiet import quiet
from acclimate.errors import CalibrationError, ConversionError, CutError, InputError

pytestmark = pytest.mark.needs_torch
Float32 = NDArray[np.float32]


class Residual(nn.Module):
    """Two stages with a residual sum each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.a, self.norm = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.down, self.b = nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.norm(self.a(x)))
        x = torch.relu(self.down(x))
        x = torch.relu(x + self.b(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Tokens(nn.Module):
    """A small transformer with a class token, as its exporter writes it for one batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down, self.fc = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, 16), x], 1)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, 2)
        x = x + self.out(torch.softmax(q @ k.transpose(1, 2) / 4, 2) @ v)
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))
        logits: Tensor = self.fc(x[:, 0])
        return logits


def seeded(make: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model.eval()


def exported(model: nn.Module, shape: tuple[int, ...], folder: Path, *, free: bool = True) -> bytes:
    target = folder / "model.onnx"
    axes = {"x": {0: "n"}, "y": {0: "n"}} if free else None
    with quiet():
        torch.onnx.export(
            model,
            (torch.randn(1 if not free else 2, *shape),),
            target,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
            do_constant_folding=True,
        )
    return target.read_bytes()


def built(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    shape: tuple[int | str, ...],
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )


def normal(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def frames(n: int, *shape: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (n, -(-shape[0] // 4), -(-shape[1] // 4), shape[2]))
    return np.kron(coarse, np.ones((1, 4, 4, 1)))[:, : shape[0], : shape[1]].astype(np.uint8)


def ready(content: bytes, samples: NDArray[Any], **options: Any) -> OnnxSplit:
    return split_onnx(parse_onnx(content), samples, **{"keeps_head": True, **options})


def check_parity(found: OnnxSplit, samples: NDArray[Any], bound: float = 1e-3) -> None:
    """The backbone, as a device loads it, gives the file's own activations at batches of 1, 8 and 32."""
    module = found.original.module
    assert isinstance(module, OnnxOriginal)
    embedder = open_backbone(module.content, "onnx", found.original)
    rows = np.arange(max(BATCHES)) % len(samples)
    for batch in BATCHES:
        parity = compare(embed(embedder, samples[rows], batch), found.original.latents[rows], found.original.taps)
        assert parity.whole.error < bound, (batch, str(parity))


def logits(found: OnnxSplit) -> Float32:
    return np.asarray(found.original.latents @ found.split.padded_weight().T + found.split.bias, np.float32)


def reference(content: bytes, x: Float32) -> Float32:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else len(x)
    found = [session.run(None, {name: x[i : i + step]})[0] for i in range(0, len(x), step)]
    return np.asarray(np.concatenate(found), np.float32)


def prepared(samples: NDArray[np.uint8], size: tuple[int, int], mean: float, std: float) -> Float32:
    module = FramePreprocess(samples.shape[1:], size, 3, [mean], [std])
    return np.asarray(module(torch.from_numpy(samples)).numpy(), np.float32)


def test_a_perceptron(tmp_path: Path) -> None:
    """Every hidden layer is a tap, the last layer's input the cut; latents times head are the file's output."""
    net = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 3))
    content, x = exported(net, (6,), tmp_path), normal(12, 6)
    found = ready(content, x)
    assert [tap.width for tap in found.split.taps] == [7, 9]
    assert found.split.weight.shape == (3, 9)
    np.testing.assert_allclose(logits(found), reference(content, x), rtol=1e-4, atol=1e-5)
    check_parity(found, x)


@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_a_residual_network_from_raw_frames(tmp_path: Path, free: bool) -> None:
    """Stages end where their sums do; the file's size is the default for resizing; a fixed batch becomes free."""
    content = exported(seeded(Residual), (3, 16, 16), tmp_path, free=free)
    raw = frames(12, 24, 20, 3)
    found = ready(content, raw, mean=[0.5] * 3, std=[0.25] * 3)
    assert found.raw.spec.shape == (24, 20, 3)
    assert [tap.width for tap in found.split.taps] == [8, 12]
    expected = reference(content, prepared(raw, (16, 16), 0.5, 0.25))
    np.testing.assert_allclose(logits(found), expected, rtol=1e-3, atol=1e-4)
    check_parity(found, raw)


@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_a_transformer(tmp_path: Path, free: bool) -> None:
    """Tokens are averaged over positions; the class token is repeated for every sample of a free batch."""
    content = exported(seeded(Tokens), (3, 16, 16), tmp_path, free=free)
    raw = frames(12, 16, 16, 3)
    found = ready(content, raw, mean=0.5, std=0.25)
    assert found.split.weight.shape == (4, 16)
    assert [tap.width for tap in found.split.taps] == [16, 16]
    expected = reference(content, prepared(raw, (16, 16), 0.5, 0.25))
    np.testing.assert_allclose(logits(found), expected, rtol=1e-3, atol=1e-4)
    check_parity(found, raw)


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


def test_eight_bits_stay_as_they_are(tmp_path: Path) -> None:
    """A quantized file is known as one; head and taps are found through its scales, and its latents are its own."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    content = exported(seeded(Residual), (3, 16, 16), tmp_path)
    x = normal(12, 3, 16, 16)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the quantizer asks for a subclass of its own
        def __init__(self) -> None:
            self.left = iter([{"x": x}])

        def get_next(self) -> dict[str, Float32] | None:
            return next(self.left, None)

    with quiet():
        quantize_static(tmp_path / "model.onnx", tmp_path / "q.onnx", Reader(), per_channel=True)
    quantized = (tmp_path / "q.onnx").read_bytes()
    found = ready(quantized, x)
    assert isinstance(found.original.module, OnnxOriginal)
    assert found.original.module.quantized
    assert not parse_onnx(content).quantized
    assert found.split.weight.shape == (5, 12)
    assert b"DequantizeLinear" in found.original.module.content
    expected = reference(quantized, x)
    assert np.abs(logits(found) - expected).max() < 0.05 * np.abs(expected).max()
    check_parity(found, x, bound=0.05)


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


def test_taps_by_name(tmp_path: Path) -> None:
    """Nodes and tensors may be named; a name that means none is refused with those close to it."""
    content = exported(seeded(Residual), (3, 16, 16), tmp_path)
    x = normal(12, 3, 16, 16)
    found = ready(content, x, taps=["/Relu"])
    assert [tap.width for tap in found.split.taps] == [8, 12]
    assert [tap.width for tap in ready(content, x, taps="last").split.taps] == [12]
    with pytest.raises(CutError, match=r"found '/Rely'\. Close to it: \['Relu"):
        ready(content, x, taps=["/Rely"])


def gemm(*, name: str = "fc") -> list[onnx.NodeProto]:
    return [helper.make_node("Gemm", ["x", "w"], ["y"], name=name)]


def branch() -> onnx.NodeProto:
    one = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["o"])], "one", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    return helper.make_node("If", ["c"], ["h"], name="choose", then_branch=one, else_branch=one)


W = {"w": normal(5, 3)}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", ConversionError, "found none|truncated"),
        (b"not an onnx file at all", ConversionError, "damaged|truncated"),
        (built(gemm(), W, ("n", 5))[:-40], ConversionError, "damaged|truncated|fit their shape"),
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
        (built(gemm(), W, ("n", 5), opset=99), ConversionError, "expected an opset from 13 to 21, found 99"),
        (built(gemm(), W, ("n", 5), opset=5), ConversionError, "opset from 13 to 21, found 5, and onnx cannot"),
        (built(gemm(), W, (5,)), CutError, r"expected an input \(n, ...\)"),
    ],
    ids=["empty", "no onnx", "truncated", "custom operator", "unknown operator", "control flow", "random",
         "two outputs", "nan", "huge", "bomb", "opset too new", "opset too old", "no batch"],
)  # fmt: skip
def test_bad_files_are_refused_before_anything_runs(content: bytes, error: type[Exception], message: str) -> None:
    """Each refusal names the node or the tensor."""
    with pytest.raises(error, match=message):
        parse_onnx(content)


def test_external_data_is_never_opened(tmp_path: Path) -> None:
    """A tensor that names a file of the machine is refused."""
    model = onnx.load_from_string(built(gemm(), W, ("n", 5)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ConversionError, match="keeps them in other files, which are never opened"):
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
    with pytest.raises(CalibrationError, match="at least 8"):
        ready(flat, normal(4, 5))
    with pytest.raises(ConversionError, match="TFLite was asked for"):
        ready(flat, normal(12, 5), runtimes=("onnx", "tflite"))
    with pytest.raises(ConversionError, match="a training step was asked for"):
        ready(flat, normal(12, 5), deeper=True)


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


def test_a_file_that_is_read_stays_as_it_is() -> None:
    """Reading and preparing change nothing of the content that the original runs from."""
    content = built(gemm(), W, ("n", 5))
    file: OnnxFile = parse_onnx(content)
    before = file.model.SerializeToString()
    split_onnx(file, normal(12, 5), keeps_head=True)
    assert file.model.SerializeToString() == before
    assert file.content == content
