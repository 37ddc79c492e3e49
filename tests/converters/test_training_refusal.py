"""What cannot be trained ahead is refused with an error that names the module and says what would help."""

from collections.abc import Callable
from typing import cast

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.training import compile_training
from acclimate.errors import ConversionError, InputError, ParityError

MAPS = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


class Tail(nn.Module):
    """A convolution, a function and a head."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function, self.fc = nn.Conv2d(3, 4, 1), function, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.function(self.conv(x)).mean((2, 3)))
        return logits


def _branch(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def _pick(x: Tensor) -> Tensor:
    return x[:, :, x[0, 0].sum(1) > 0]


class Norm(nn.Module):
    """A norm without statistics, in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


class Transposed(nn.Module):
    """An upsampling convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(x)
        return y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: functional.dropout(x, 0.3), "dropout.*training=self.training"),
        (lambda x: x + torch.rand_like(x), "randomness.*rand"),
        (_branch, r"does in test_training_refusal\.py, line \d+: return x \* 2 if x\.sum\(\) > 0 .*torch\.where"),
        (_pick, "index.*Tail"),
        (Norm(), "running|normalises by the batch.*track_running_stats"),
        (Transposed(), r"function\.up.*transposed"),
        (lambda x: torch.fft.fft2(x).abs(), "Tail.*complex"),
        (lambda x: x.cumsum(2), "cumsum.*Tail"),
        (lambda x: x.view(4, 4, 5, 5), "batch size"),
        (lambda x: x - x.mean(0), "mixes samples"),
    ],
)
def test_operations(function: Callable[[Tensor], Tensor], words: str) -> None:
    """Randomness, dependence on values or on the batch, and unsupported operations are refused."""
    with pytest.raises(ConversionError, match=words) as caught:
        compile_training(Tail(function), MAPS)
    assert "expected" in str(caught.value)


def test_bad_weights() -> None:
    """NaN in a weight is found before anything else is done."""
    tail = Tail(nn.Identity())
    with torch.no_grad():
        tail.conv.weight[1] = float("nan")
    with pytest.raises(ConversionError, match=r"conv\.weight"):
        compile_training(tail, MAPS)


def test_shared_with_backbone() -> None:
    """A weight that also lies in front of the cut is refused by both its names."""
    tail, backbone = Tail(nn.Identity()), nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1))
    tail.conv.weight = cast(nn.Conv2d, backbone[1]).weight
    with pytest.raises(ConversionError, match=r"conv\.weight.*1\.weight"):
        compile_training(tail, MAPS, backbone=backbone)


def test_tied_inside() -> None:
    """A weight that two layers of the tail share trains as one."""
    tail = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    tail[2].weight = tail[0].weight
    compiled = compile_training(tail, MAPS)
    assert [p.name for p in compiled.spec.parameters] == ["0.weight", "0.bias", "2.bias"]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (nn.Sequential(nn.Flatten(2)), "logits"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "parameters"),
        (nn.Bilinear(3, 3, 2), "input"),
        (nn.Linear(7, 2), "Linear|operations"),
    ],
)
def test_not_a_tail(tail: nn.Module, words: str) -> None:
    """What takes other inputs, has nothing to train or does not end in logits is refused."""
    with pytest.raises(ConversionError, match=words):
        compile_training(tail, MAPS)


def test_bad_maps() -> None:
    """Maps with NaN, of another type or of one sample are refused."""
    for maps in (MAPS[:1], MAPS.double(), torch.full_like(MAPS, float("nan"))):
        with pytest.raises(InputError):
            compile_training(Tail(nn.Identity()), maps)


def test_overflow() -> None:
    """A tail whose numbers leave the range of float32 does not pass as compiled."""
    tail = Tail(lambda x: x * 1e30)
    with torch.no_grad():
        tail.fc.weight.mul_(1e15)
    with pytest.raises(ParityError, match="logits"):
        compile_training(tail, MAPS)
