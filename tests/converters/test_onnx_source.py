"""An ONNX file of unknown origin becomes a backbone: head and taps are found, and the latents are the file's own."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

from torch import nn

from acclimate.converters.onnx_source.file import OnnxFile, parse_onnx
from acclimate.converters.onnx_source.split import OnnxOriginal, split_onnx
from acclimate.converters.quiet import quiet
from acclimate.errors import CutError

from .onnx_files import (
    Float32,
    Residual,
    Tokens,
    W,
    built,
    check_parity,
    exported,
    frames,
    gemm,
    logits,
    normal,
    prepared,
    ready,
    reference,
    seeded,
)

pytestmark = pytest.mark.needs_torch


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


def test_taps_by_name(tmp_path: Path) -> None:
    """Nodes and tensors may be named; a name that means none is refused with those close to it."""
    content = exported(seeded(Residual), (3, 16, 16), tmp_path)
    x = normal(12, 3, 16, 16)
    found = ready(content, x, taps=["/Relu"])
    assert [tap.width for tap in found.split.taps] == [8, 12]
    assert [tap.width for tap in ready(content, x, taps="last").split.taps] == [12]
    with pytest.raises(CutError, match=r"found '/Rely'\. Close to it: \['Relu"):
        ready(content, x, taps=["/Rely"])


def test_a_file_that_is_read_stays_as_it_is() -> None:
    """Reading and preparing change nothing of the content that the original runs from."""
    content = built(gemm(), W, ("n", 5))
    file: OnnxFile = parse_onnx(content)
    before = file.model.SerializeToString()
    split_onnx(file, normal(12, 5), keeps_head=True)
    assert file.model.SerializeToString() == before
    assert file.content == content
