"""Ranges that training has chosen are those of the converted files, in both formats."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import onnx
import torch
from torch import Tensor, nn

from acclimate import Bundle
from acclimate.converters import convert
from acclimate.converters.quantization.trained_ranges import Figures, keep_trained, watching
from acclimate.errors import CalibrationError, ConversionError

from .conftest import Digits

pytestmark = pytest.mark.needs_torch
# Neither is what calibration would find: the first cuts off, the second leaves room.
FIRST, SECOND, THIRD = (0.0, 0.75), (0.0, 7.5), (-3.0, 5.0)


class Held(nn.Module):
    """A place where training chose a range."""

    def __init__(self, low: object, high: object) -> None:
        super().__init__()
        self.activation_range = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x


class Net(nn.Module):
    """Two activations that saturate alike at 6, so that their extremes do not tell them apart; then a signed one."""

    def __init__(self, behind: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.first, self.second, self.third = Held(*FIRST), Held(*SECOND), Held(*THIRD)
        self.behind, self.fc = behind, nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(nn.functional.relu6(20 * self.a(x)))
        x = self.second(nn.functional.relu6(5 * self.b(x)))
        if self.behind is not None:
            self.behind(torch.cos(x))
        x = self.third(self.c(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def scale_and_zero(ends: tuple[float, float]) -> tuple[float, int]:
    scale = (ends[1] - ends[0]) / 255
    return scale, round(-ends[0] / scale)


@pytest.mark.parametrize("calibrate", ["minmax", "percentile"])
def test_both_formats_keep_them(digits: Digits, tmp_path: Path, calibrate: str) -> None:
    """Scale and zero point of the three tensors, whatever calibration would have found."""
    pytest.importorskip("litert_torch", reason="acclimate[convert-tflite] is not installed")
    from ai_edge_litert.interpreter import Interpreter

    net, out = Net().eval(), tmp_path / "net.acc"
    wish = {"quantize": True, "float_convolutions": 0, "least_cosine": -1, "calibrate": calibrate}
    convert(net, digits.frames[:64], out=out, head=None, **wish)  # type: ignore[arg-type]
    with Bundle(out) as bundle:
        graph = onnx.load_from_string(bundle.backbone("onnx")).graph
        content = bundle.backbone("tflite")
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {
        (round(float(held[node.input[1]]), 6), int(held[node.input[2]]))
        for node in graph.node
        if node.op_type == "QuantizeLinear" and held[node.input[1]].ndim == 0
    }
    interpreter = Interpreter(model_content=content)
    details = [one["quantization"] for one in interpreter.get_tensor_details() if one["dtype"] == np.int8]
    signed = {(round(float(scale), 6), int(zero) + 128) for scale, zero in details}
    for ends in (FIRST, SECOND, THIRD):
        scale, zero = scale_and_zero(ends)
        assert (round(scale, 6), zero) in found
        assert (round(scale, 6), zero) in signed


def test_a_range_without_its_activation_is_refused(digits: Digits, tmp_path: Path) -> None:
    """It stands where nothing of the file is: in a branch that leads nowhere."""
    net = Net(Held(-1, 1)).eval()
    with pytest.raises(ConversionError, match="trained range of 'behind', found none"):
        convert(net, digits.frames[:64], out=tmp_path / "net.acc", head=None, quantize=True, runtimes=("onnx",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "ends", [(0.1, 1), (-1, -0.5), (0, 0), (float("nan"), 1), (0, float("inf")), ("a", 1), (None, 1)]
)
def test_what_is_no_range_is_refused(ends: tuple[object, object]) -> None:
    """It must hold 0, and be two finite numbers."""
    with pytest.raises(CalibrationError, match="expected"), watching(nn.Sequential(Held(*ends))):
        pass


def test_hooks_go_and_figures_are_those_of_all_batches() -> None:
    """Watching leaves nothing behind; the figures of parts are those of the whole."""
    model = nn.Sequential(Held(-4, 4))
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    with watching(model) as trained:
        model(x[:5])
        model(x[5:])
    model(100 * x)
    whole = Figures()
    whole.add(x.numpy())
    assert trained[0].figures.apart(whole) < 1e-6
    assert trained[0].figures.count == 60
    other = {"x": x.numpy(), "y": x.numpy() + 0.1}
    assert keep_trained({"x": (0, 1), "y": (0, 2)}, [other], trained) == {"x": (-4, 4), "y": (0, 2)}


def test_a_model_without_ranges_has_none() -> None:
    """And is not run for them."""
    with watching(nn.Linear(2, 2)) as trained:
        assert trained == ()
