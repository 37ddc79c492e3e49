"""The device's export of a network that was just converted: PyTorch's own probabilities, in float and in 8 bits."""

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")
pytest.importorskip("onnx", reason="acclimate[convert] is not installed")

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.bundle import LinearLayer
from acclimate.converters.original import Original
from acclimate.converters.quantization.onnx import quantize_onnx
from acclimate.converters.splitting.split import Split
from acclimate.edge.export.onnx import export_onnx
from acclimate.latent import LatentCode

from .conftest import Digits, normalised

pytestmark = pytest.mark.needs_torch


def probabilities(content: bytes, frames: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    """Run an exported model a batch at a time, once the onnx package finds nothing wrong with it."""
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [session.run(["probabilities"], {"input": frames[i : i + batch]})[0] for i in range(0, len(frames), batch)]
    return np.concatenate(parts)


@pytest.fixture
def export(digit_split: Split, original: Original) -> Callable[[bytes], bytes]:
    """Return a function that puts the network's own head behind a backbone, with a code that cuts nothing off."""
    width = original.latents.shape[1]
    code = LatentCode(np.full(width, 10, np.float32), np.full(width, -1275, np.float32))
    head = LinearLayer(digit_split.padded_weight(), digit_split.bias)
    return lambda backbone: export_onnx(backbone, head, code, [str(i) for i in range(10)])


@pytest.mark.parametrize("batch", [1, 32])
def test_in_float_it_is_the_network_again(
    digit_net: nn.Module, digits: Digits, float_onnx: bytes, export: Callable[[bytes], bytes], batch: int
) -> None:
    """Backbone and head were taken apart; together they give PyTorch's probabilities to 1e-5 on frames never seen."""
    frames = digits.frames[-400:]
    with torch.no_grad():
        expected = torch.softmax(digit_net(normalised(frames)), 1).numpy()
    np.testing.assert_allclose(probabilities(export(float_onnx), frames, batch), expected, atol=1e-5)


def test_in_8_bits_it_is_as_good(
    original: Original, digits: Digits, float_onnx: bytes, export: Callable[[bytes], bytes]
) -> None:
    """The quantized backbone takes the head too, and classifies the held-out digits no worse than by two points."""
    quantized = quantize_onnx(float_onnx, original.samples)
    frames, labels = digits.frames[-400:], digits.labels[-400:]
    shares = [
        float((probabilities(export(b), frames, 32).argmax(axis=1) == labels).mean()) for b in (float_onnx, quantized)
    ]
    assert shares[0] > 0.9
    assert shares[1] > shares[0] - 0.02
