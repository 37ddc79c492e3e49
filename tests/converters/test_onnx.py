"""ONNX: the export computes what torch does, and 8 bits lose little of it."""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("onnx", reason="acclimate[convert] is not installed")

import onnx
import torch
from torch import nn

from acclimate.converters import export_onnx as exporter
from acclimate.converters.original import Original, embed, open_backbone
from acclimate.converters.parity import compare
from acclimate.converters.quantization.onnx import quantize_onnx
from acclimate.errors import ConversionError

pytestmark = pytest.mark.needs_torch


def test_float_export_equals_torch_at_any_batch_size(original: Original, float_onnx: bytes) -> None:
    """Batches of 1, 7 and 64, to 1e-5 of the spread."""
    embedder = open_backbone(float_onnx, "onnx", original)
    for batch in (1, 7, 64):
        found = embed(embedder, original.samples, batch)
        assert compare(found, original.latents, original.taps).whole.error < 1e-4


def test_the_file_says_nothing_of_the_machine_that_made_it(float_onnx: bytes) -> None:
    """The exporter notes stack traces with paths; none is left, nor the head, which nothing needs."""
    assert b"site-packages" not in float_onnx
    assert str(Path(__file__).parents[2]).encode() not in float_onnx
    names = [tensor.name for tensor in onnx.load_from_string(float_onnx).graph.initializer]
    assert names
    assert not [name for name in names if ".fc." in name]


def test_input_and_output_are_named_and_the_batch_is_free(float_onnx: bytes) -> None:
    """uint8 in, float32 out."""
    graph = onnx.load_from_string(float_onnx).graph
    (source,), (result,) = graph.input, graph.output
    assert (source.name, result.name) == ("input", "latent")
    assert source.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert result.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert source.type.tensor_type.shape.dim[0].dim_param
    assert result.type.tensor_type.shape.dim[1].dim_value == 100


def test_the_traced_exporter_steps_in(original: Original, float_onnx: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the current exporter fails, the traced one gives the same latents, and quantizes as well."""

    def fail(module: nn.Module, example: torch.Tensor) -> None:
        raise RuntimeError("cannot")

    monkeypatch.setattr(exporter, "_export_current", fail)
    assert isinstance(original.module, nn.Module)
    content = exporter.export_onnx(original.module, torch.from_numpy(original.samples[:2]))
    assert content != float_onnx
    for file, bound in ((content, 1e-4), (quantize_onnx(content, original.samples), 0.5)):
        found = embed(open_backbone(file, "onnx", original), original.samples)
        assert compare(found, original.latents, original.taps).whole.error < bound


def test_a_model_that_no_exporter_takes_is_refused() -> None:
    """Both reasons are told."""

    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = torch.special.bessel_j0(x)
            return y

    with pytest.raises(ConversionError, match=r"both of its exporters fail. The current one: .* The traced one: "):
        exporter.export_onnx(Bessel(), torch.zeros(2, 3))


def test_eight_bits_keep_the_latents(original: Original, float_onnx: bytes) -> None:
    """On a trained network the centred cosine stays above .99 for every sample, and every tap's mean."""
    content = quantize_onnx(float_onnx, original.samples)
    parity = compare(embed(open_backbone(content, "onnx", original), original.samples), original.latents, original.taps)
    assert parity.whole.least_cosine > 0.99
    assert min(tap.cosine for tap in parity.taps.values()) > 0.99


def test_only_the_backbone_is_quantized(original: Original, float_onnx: bytes) -> None:
    """Preprocessing and the averages stay in float; every convolution but those asked for takes integers."""
    for kept in (0, 3):
        graph = onnx.load_from_string(quantize_onnx(float_onnx, original.samples, float_convolutions=kept)).graph
        made_by = {name: node.op_type for node in graph.node for name in node.output}
        takes = [made_by.get(node.input[1], "") for node in graph.node if node.op_type == "Conv"]
        assert [kind == "DequantizeLinear" for kind in takes] == [False] * kept + [True] * (len(takes) - kept)
        quantized = {made_by.get(node.input[0], "input") for node in graph.node if node.op_type == "QuantizeLinear"}
        assert not quantized & {"ReduceMean", "Concat", "Cast", "Mul"}
        joined = next(node for node in graph.node if node.output[0] == "latent")
        assert joined.op_type == "Concat"


def test_quantizing_twice_gives_the_same_file(original: Original, float_onnx: bytes) -> None:
    """Bit for bit."""
    assert quantize_onnx(float_onnx, original.samples) == quantize_onnx(float_onnx, original.samples)


def test_percentile_cuts_off_what_minmax_keeps(original: Original, float_onnx: bytes) -> None:
    """Both calibrations work, and differ."""
    wide = quantize_onnx(float_onnx, original.samples[:32])
    cut = quantize_onnx(float_onnx, original.samples[:32], method="percentile", percentile=99.0)
    assert wide != cut
    found = embed(open_backbone(cut, "onnx", original), original.samples)
    assert compare(found, original.latents, original.taps).whole.cosine > 0.9


def test_nothing_to_quantize_is_said(original: Original) -> None:
    """A backbone without convolution or linear layer cannot be quantized."""
    content = exporter.export_onnx(nn.Flatten(), torch.zeros(2, 3, 1))
    with pytest.raises(ConversionError, match=r"found none. Convert with quantize=False"):
        quantize_onnx(content, np.zeros((8, 3, 1), np.float32))


def test_importing_the_exporters_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing happens at import."""
    importlib.reload(exporter)
    assert capfd.readouterr() == ("", "")
