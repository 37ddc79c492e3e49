"""Layers back in float: found by cost, the fewest that do, and truly in float when the runtime has them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
import onnxruntime

from acclimate.converters.original import Original, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.quantization.calibration import Calibration
from acclimate.converters.quantization.fresh_head import compare_heads, held_out_hits, judged_rows
from acclimate.converters.quantization.onnx import prepare_onnx
from acclimate.converters.quantization.sensitivity import LayerCost, fewest_in_float, layer_costs

pytestmark = pytest.mark.needs_torch


class Sum:
    """A model whose cosine falls by a known amount for each layer in 8 bits."""

    layers = ("a", "b", "c")
    convolutions = layers
    labels = layers

    def content(self, kept: Sequence[str] = ()) -> bytes:
        return bytes(i for i, name in enumerate(self.layers) if name not in kept)

    def corrected(self, content: bytes) -> bytes | None:
        return None


def cosine(content: bytes) -> float:
    return 0.999 - sum((0.01, 0.3, 0.02)[i] for i in content)


def test_a_layers_cost_is_what_it_loses_alone() -> None:
    """To the digit, and progress for each."""
    steps: list[tuple[int, int]] = []
    found = layer_costs(Sum(), cosine, lambda done, total: steps.append((done, total)))
    assert [layer.name for layer in found] == ["a", "b", "c"]
    np.testing.assert_allclose([layer.lost for layer in found], [0.01, 0.3, 0.02])
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_fewest_of_the_costliest_are_taken() -> None:
    """By cost, not more than a share; the most that may be where none are enough."""
    costs = [LayerCost(f"layer {i}", float(i % 10) + i / 100) for i in range(40)]
    asked: list[int] = []

    def good(kept: Sequence[str]) -> bool:
        asked.append(len(kept))
        return len(kept) >= 3

    assert fewest_in_float(costs, good) == ("layer 39", "layer 29", "layer 19")
    assert asked == [1, 2, 3]
    asked.clear()
    assert len(fewest_in_float(costs, lambda kept: len(kept) > 99 or good(kept[:2]))) == 10
    assert asked == [1, 2, 2, 2, 2, 2, 2]


def test_every_layer_back_in_float_is_nearly_the_float_model(original: Original, float_onnx: bytes) -> None:
    """And each alone is at least as good as none, but for chance; no weights in 8 bits are left behind."""
    model = prepare_onnx(float_onnx, original.samples)
    assert len(model.layers) == 11
    assert model.labels[0] == "stem"

    def closeness(kept: Sequence[str]) -> float:
        embedder = open_backbone(model.content(kept), "onnx", original)
        return compare(embed(embedder, original.samples), original.latents, original.taps).whole.cosine

    none = closeness(())
    assert closeness(model.layers) > max(none, 0.9995)
    for name in model.layers:
        assert closeness([name]) > none - 3e-4
    kept = onnx.load_from_string(model.content(model.layers))
    assert not [tensor for tensor in kept.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    onnx.checker.check_model(kept)


def test_the_runtimes_optimizer_leaves_a_float_layer_in_float(
    original: Original, float_onnx: bytes, tmp_path: Path
) -> None:
    """Between 8-bit tensors it would quantize the weights by itself, with one scale for all channels."""
    model = prepare_onnx(float_onnx, original.samples)
    for kept in ((), model.layers[:1], model.layers[1:2], model.layers[4:5]):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(model.content(kept), options, ["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
        assert sum(kind in ("Conv", "FusedConv") for kind in kinds) == len(kept)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_tflite_takes_every_calibration_and_layers_back(
    original: Original, float_tflite: bytes, method: Calibration
) -> None:
    """Ranges that are found here reach the quantizer; in float a layer loses nothing."""
    from acclimate.converters.quantization.tflite import prepare_tflite

    model = prepare_tflite(float_tflite, original.samples, method=method, percentile=99.0)
    assert len(model.layers) == 11
    assert model.labels[0].startswith("stem")
    closeness = []
    for kept in ((), model.layers[:3], model.layers):
        embedder = open_backbone(model.content(kept), "tflite", original)
        closeness.append(compare(embed(embedder, original.samples), original.latents, original.taps).whole.cosine)
    assert closeness[0] > 0.95
    assert closeness[2] > max(closeness[0], 0.995)
    if method != "minmax":
        assert model.content() != prepare_tflite(float_tflite, original.samples).content()


def test_a_fresh_heads_loss_is_paired() -> None:
    """Held-out hits of separable classes are right, of noise are not; the loss counts changes by sample."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    x = (rng.normal(size=(120, 6)) + 4 * np.eye(3, 6)[y]).astype(np.float32)
    good, bad = held_out_hits(x, y), held_out_hits(rng.normal(size=(120, 6)).astype(np.float32), y)
    assert good is not None
    assert bad is not None
    assert good.mean() > 0.95
    assert bad.mean() < 0.6
    found = compare_heads(bad, good)
    assert found.lost == pytest.approx(100 * (good.mean() - bad.mean()))
    assert not found.within(0.5)
    assert compare_heads(good, good).within(0.0)
    assert held_out_hits(x[:40], y[:40]) is None


def test_judged_samples_are_of_all_classes() -> None:
    """As many of each, the rare class whole; twice the same."""
    y = np.array([0] * 500 + [1] * 20 + [2] * 300)
    rows = judged_rows(y, 120)
    assert np.bincount(y[rows]).tolist() == [50, 20, 50]
    np.testing.assert_array_equal(rows, judged_rows(y, 120))
