"""Bias correction: the mean of every channel is the float model's again, in both runtimes."""

from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("onnx", reason="acclimate[convert] is not installed")

import onnx
from onnx import numpy_helper

from acclimate.converters.original import Original, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.quantization.bias_onnx import correct_biases_onnx, shifted
from acclimate.converters.quantization.onnx import QuantizedOnnx, prepare_onnx
from acclimate.manifest import Runtime

pytestmark = pytest.mark.needs_torch


@pytest.fixture(scope="module")
def quantized(original: Original, float_onnx: bytes) -> QuantizedOnnx:
    return prepare_onnx(float_onnx, original.samples)


def closeness(content: bytes, runtime: Runtime, original: Original) -> float:
    """Return the centred cosine of a file's latents."""
    found = embed(open_backbone(content, runtime, original), original.samples)
    return compare(found, original.latents, original.taps).whole.cosine


def shift_onnx(content: bytes, steps: int) -> bytes:
    """Add steps to the biases of every second layer in 32 bits."""
    model = onnx.load_from_string(content)
    whole = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT32 and len(one.dims) == 1]
    biases = [one for one in whole if "zero_point" not in one.name]
    assert len(biases) > 8
    for one in biases[::2]:
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) + np.int32(steps), one.name))
    return bytes(model.SerializeToString())


def test_shifted_means_come_back_in_onnx(quantized: QuantizedOnnx, original: Original) -> None:
    """Biases that were all moved, layer upon layer, give the latents of untouched ones again."""
    damaged = shift_onnx(quantized.content(), 4000)
    before, damage = closeness(quantized.content(), "onnx", original), closeness(damaged, "onnx", original)
    assert damage < before - 0.05
    assert closeness(correct_biases_onnx(quantized.float_model, damaged, original.samples), "onnx", original) > (
        before - 0.003
    )


def test_layers_in_float_are_corrected_too(quantized: QuantizedOnnx, original: Original) -> None:
    """What earlier layers shift, a later one in float takes back."""
    kept = quantized.layers[-1:]
    damaged = shift_onnx(quantized.content(kept), 4000)
    found = quantized.corrected(damaged)
    assert found is not None
    assert closeness(found, "onnx", original) > closeness(damaged, "onnx", original) + 0.02


def test_a_bias_that_two_layers_share_stays(quantized: QuantizedOnnx, original: Original) -> None:
    """Corrected for one of them it would be wrong for the other."""
    model = onnx.load_from_string(quantized.content())
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    by_size: dict[tuple[int, ...], list[onnx.NodeProto]] = {}
    for node in (one for one in model.graph.node if one.op_type == "Conv"):
        by_size.setdefault(sizes[made_by[node.input[2]].input[0]], []).append(node)
    first, second = next(pair for pair in by_size.values() if len(pair) > 1)[:2]
    second.input[2] = first.input[2]
    shared = made_by[first.input[2]].input[0]
    found = onnx.load_from_string(
        correct_biases_onnx(quantized.float_model, model.SerializeToString(), original.samples)
    )
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in one.graph.initializer} for one in (model, found)
    )
    assert np.array_equal(before[shared], after[shared])
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_a_network_without_biases_stays_as_it_is(quantized: QuantizedOnnx, original: Original) -> None:
    """There is nothing to correct."""
    bare = onnx.ModelProto()
    bare.CopyFrom(quantized.int8_model)
    for node in bare.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            del node.input[2:]
    content = bare.SerializeToString()
    assert correct_biases_onnx(quantized.float_model, content, original.samples) == content


def test_ranges_that_training_has_chosen_stay_alone(quantized: QuantizedOnnx) -> None:
    """A model trained for the rounding has its means as they are."""
    trained = QuantizedOnnx(quantized.float_model, quantized.int8_model)
    assert trained.corrected(trained.content()) is None


@pytest.mark.skipif(find_spec("ai_edge_quantizer") is None, reason="acclimate[convert-tflite] is not installed")
def test_shifted_means_come_back_in_tflite(original: Original, float_tflite: bytes) -> None:
    """Likewise where only what an activation passes on can be seen."""
    from ai_edge_litert import schema_py_generated as schema

    from acclimate.converters.quantization.bias_tflite import correct_biases_tflite
    from acclimate.converters.quantization.tflite import prepare_tflite
    from acclimate.converters.quantization.tflite_graph import biased_layers

    content = prepare_tflite(float_tflite, original.samples).content()
    damaged = bytearray(content)
    root = schema.Model.GetRootAs(damaged, 0)
    layers = [layer for layer in biased_layers(content) if layer.bias is not None and layer.scale is not None]
    assert len(layers) > 8
    for layer in layers[::2]:
        root.Buffers(layer.bias).DataAsNumpy().view(np.int32)[:] += 2000
    before, damage = closeness(content, "tflite", original), closeness(bytes(damaged), "tflite", original)
    assert damage < before - 0.05
    found = correct_biases_tflite(float_tflite, bytes(damaged), original.samples)
    assert closeness(found, "tflite", original) > before - 0.01


def test_a_shift_in_steps() -> None:
    """Rounded to whole steps, kept within 32 bits; a channel without a step stays; float biases take any number."""
    bias, by = np.array([5, -3, 2**31 - 2, 7], np.int32), np.array([1.0, -0.26, 10.0, 3.0])
    scale = np.array([0.5, 0.5, 0.1, 0.0], np.float32)
    assert shifted(bias, by, scale).tolist() == [7, -4, 2**31 - 1, 7]
    assert shifted(bias[:2], by[:2], np.array([0.5], np.float32)).tolist() == [7, -4]
    assert shifted(np.array([0.5], np.float32), np.array([0.25]), None).tolist() == [0.75]
