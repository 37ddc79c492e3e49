"""TFLite: the export computes what torch does at any batch size, and 8 bits lose little of it."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
if find_spec("litert_torch") is None or find_spec("ai_edge_quantizer") is None:
    pytest.skip("acclimate[convert-tflite] is not installed", allow_module_level=True)

import torch
from torch import Tensor, nn

from acclimate.bundle import LinearLayer
from acclimate.converters.export_tflite import export_tflite
from acclimate.converters.original import Original, embed, make_float, open_backbone, run_module
from acclimate.converters.parity import compare
from acclimate.converters.quantization.tflite import quantize_tflite
from acclimate.converters.quantization.tflite_graph import kind, read_model
from acclimate.converters.quiet import quiet
from acclimate.converters.splitting.split import Split
from acclimate.converters.tflite_batch import telling_batch
from acclimate.edge.export.tflite import export_tflite as export_adapted
from acclimate.edge.head import LinearHead
from acclimate.errors import ConversionError
from acclimate.latent import LatentCode
from acclimate.manifest import InputSpec, Tap

from .conftest import Digits

pytestmark = pytest.mark.needs_torch
QUANTIZE, CONV, DEPTHWISE, DEQUANTIZE = 114, 3, 4, 6
INT8, FLOAT = 9, 0


class Shuffled(nn.Module):
    """What converters fix to a batch of 1: slices, reshapes to five axes, layer normalisation over channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.mix = nn.Conv2d(2, 8, 3, 2, 1), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        a, b = x.chunk(2, 1)
        x = torch.cat([b, a.abs()], 1)
        x = x.view(len(x), 2, 4, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        x = self.mix(self.norm(x.permute(0, 2, 3, 1)))
        return x.mean((1, 2))


def interpreter(content: bytes) -> Any:
    """Return LiteRT's interpreter, with its defaults: XNNPACK computes what it can."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter
    return Interpreter(model_content=content, num_threads=1)


@pytest.fixture(scope="module")
def shuffled() -> Original:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Shuffled().eval().requires_grad_(False)
    samples = np.random.default_rng(0).normal(size=(40, 2, 10, 10)).astype(np.float32)
    spec = InputSpec((2, 10, 10), "float32", (-9, 9), ("channel", "y", "x"))
    return Original(module, spec, (Tap("mix", 0, 8),), samples, run_module(module, samples))


def test_float_export_equals_torch_at_any_batch_size(original: Original, float_tflite: bytes) -> None:
    """Batches of 1, 8, 32 and 64 with one interpreter, raw uint8 in."""
    embedder = open_backbone(float_tflite, "tflite", original)
    for batch in (8, 1, 32, 64):
        found = embed(embedder, original.samples, batch)
        assert compare(found, original.latents, original.taps).whole.error < 1e-4


def test_slices_reshapes_and_layer_normalisation_take_any_batch(shuffled: Original) -> None:
    """Left as the converter writes them, they fail at a batch of 8, or mix its samples."""
    _, parity = make_float("tflite", shuffled)
    assert parity.whole.error < 1e-4


def test_the_example_batch_is_told_from_every_axis() -> None:
    """31 and 37 are axes of this module, so the batch is 41."""
    module = nn.Sequential(nn.Linear(3, 62), nn.ReLU(), nn.Linear(62, 37))
    assert telling_batch(module, torch.zeros(2, 3)) == 41


def test_a_batch_that_stays_fixed_is_refused() -> None:
    """A model that looks at its samples one by one fails in words, not on the device."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.stack([self.mix(sample) for sample in x])
            return y

    module = Fixed().eval().requires_grad_(False)
    samples = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    spec = InputSpec((3,), "float32", (-9, 9), ("channel",))
    fixed = Original(module, spec, (Tap("mix", 0, 4),), samples, run_module(module, samples))
    with pytest.raises(ConversionError, match="eave tflite out of `runtimes`"):
        make_float("tflite", fixed)


def test_eight_bits_keep_the_latents_and_the_types_at_the_ends(original: Original, float_tflite: bytes) -> None:
    """On a trained network the centred cosine stays above .99 for every sample; uint8 in, float32 out."""
    content = quantize_tflite(float_tflite, original.samples)
    found = embed(open_backbone(content, "tflite", original), original.samples)
    parity = compare(found, original.latents, original.taps)
    assert parity.whole.least_cosine > 0.99
    assert min(tap.cosine for tap in parity.taps.values()) > 0.99


@pytest.mark.parametrize("kept", [0, 3])
def test_only_the_backbone_is_quantized(original: Original, float_tflite: bytes, kept: int) -> None:
    """Every convolution but those asked for takes integers; what joins the taps is in float."""
    model = read_model(quantize_tflite(float_tflite, original.samples, float_convolutions=kept))
    graph = model.subgraphs[0]
    convolutions = [operator for operator in graph.operators if kind(model, operator) in (CONV, DEPTHWISE)]
    types = [graph.tensors[operator.inputs[1]].type for operator in convolutions]
    assert types == [FLOAT] * kept + [INT8] * (len(types) - kept)
    joined = next(operator for operator in graph.operators if graph.outputs[0] in operator.outputs)
    assert {graph.tensors[i].type for i in joined.inputs} == {FLOAT}


def test_both_runtimes_quantize_alike(original: Original, float_onnx: bytes, float_tflite: bytes) -> None:
    """The same ranges in both: latents of the two differ by less than each from the original."""
    from acclimate.converters.quantization.onnx import quantize_onnx

    one = embed(open_backbone(quantize_onnx(float_onnx, original.samples), "onnx", original), original.samples)
    other = embed(open_backbone(quantize_tflite(float_tflite, original.samples), "tflite", original), original.samples)
    between = compare(other, one, original.taps).whole
    assert between.cosine > compare(one, original.latents, original.taps).whole.cosine


def test_weights_stay_inside_the_flatbuffer(original: Original, float_tflite: bytes) -> None:
    """No buffer points behind it, where older runtimes do not look."""
    for content in (float_tflite, quantize_tflite(float_tflite, original.samples)):
        with quiet():
            from ai_edge_litert import schema_py_generated as schema
        model = schema.Model.GetRootAs(content, 0)
        assert all(model.Buffers(i).Offset() <= 1 for i in range(model.BuffersLength()))


def test_what_the_converter_cannot_take_is_refused() -> None:
    """With the reason and the way around it."""

    class Bessel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.special.bessel_j0(x)
            return y

    with pytest.raises(ConversionError, match=r"litert-torch can convert, found .* Leave TFLite out"):
        export_tflite(Bessel(), torch.zeros(2, 3))


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("merged", [False, True])
def test_a_device_puts_a_head_behind_either_kind(
    original: Original, float_tflite: bytes, digit_split: Split, digits: Digits, quantized: bool, merged: bool
) -> None:
    """The network's own head, behind its latents in a narrow code: 1,000 digits, batches of 1, 8, 32 and all."""
    content = quantize_tflite(float_tflite, original.samples) if quantized else float_tflite
    frames = digits.frames[:1000]
    latents = embed(open_backbone(content, "tflite", original), frames)
    code = LatentCode.fit(latents[:20], headroom=0)
    layer = LinearLayer(digit_split.padded_weight(), digit_split.bias)
    head = LinearHead(layer, np.arange(10) // 2 if merged else np.arange(10))
    expected = head.probabilities(code.clip(latents))
    exported = export_adapted(content, layer, code, [f"class {i}" for i in head.ids], head.columns)
    model = interpreter(exported)
    for batch in (8, 1, 32, 1000):
        (taken,), (given,) = model.get_input_details(), model.get_output_details()
        model.resize_tensor_input(taken["index"], (batch, 8, 8, 1))
        model.allocate_tensors()
        model.set_tensor(taken["index"], frames[:batch])
        model.invoke()
        found = model.get_tensor(given["index"])
        np.testing.assert_allclose(found, expected[:batch], atol=1e-3)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 2e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])
