"""A model whose way depends on what it is shown is refused: a file would hold one way for all."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn

from acclimate.converters import convert
from acclimate.errors import ConversionError

from .conftest import Digits

pytestmark = pytest.mark.needs_torch


def branch(h: Tensor) -> Tensor:
    """Goes one way for all frames that calibration shows, another way for others."""
    if h.max() < 1e6:
        return h
    return -3 * h


def loop(h: Tensor) -> Tensor:
    """Adds as often as the first value says."""
    for _ in range(int(h[0, 0, 0, 0].abs() * 3) + 1):
        h = h + 1
    return h


def by_shape(h: Tensor) -> Tensor:
    """Depends on what is the same for every sample, which is no matter."""
    return h + 1 if h.shape[1] > 4 else h


class Net(nn.Module):
    """A convolution, some way, a head."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.way, self.fc = nn.Conv2d(1, 8, 3, 2, 1), way, nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.way(self.conv(x).relu()).mean((2, 3)))
        return logits


@pytest.mark.parametrize(("way", "line"), [(branch, "if h.max() < 1e6:"), (loop, "for _ in range(int(")])
def test_a_way_that_depends_on_values_is_refused(
    digits: Digits, tmp_path: Path, way: Callable[[Tensor], Tensor], line: str
) -> None:
    """With the line that chooses it, and no file."""
    with pytest.raises(ConversionError, match=r"flow that depends on values in test_control_flow\.py") as caught:
        convert(Net(way).eval(), digits.frames[:64], out=tmp_path / "net.acc", head=None, runtimes=("onnx",))
    assert line in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_way_that_depends_on_the_shape_is_none(digits: Digits, tmp_path: Path) -> None:
    """It is the same for every sample."""
    out = tmp_path / "net.acc"
    convert(Net(by_shape).eval(), digits.frames[:64], out=out, head=None, runtimes=("onnx",), quantize=False)
    assert out.exists()
