"""Where networks are tapped: the ends of their stages, whatever way they are written."""

from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.splitting.split import Split, split

pytestmark = pytest.mark.needs_torch
Settle = Callable[[nn.Module, Tensor], nn.Module]


def widths(parts: Split) -> list[int]:
    return [tap.width for tap in parts.taps]


def names(parts: Split) -> list[str]:
    return [tap.name for tap in parts.taps]


class LiteBlock(nn.Module):
    """The inverted residual of EfficientNet-Lite, written flat, with functional activations."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if expansion > 1 else None
        self.depth = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depth(y)))
        result: Tensor = x + y if self.shortcut else y
        return result


class Lite0(nn.Module):
    """EfficientNet-Lite0's layers and widths: stem, 16 blocks in a ModuleList, a last convolution, functional ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
        stages += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        blocks, width = [], 32
        for count, kernel, stride, expansion, outputs in stages:
            for i in range(count):
                blocks.append(LiteBlock(width, outputs, kernel, stride if i == 0 else 1, expansion))
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last, self.pool, self.fc = nn.Conv2d(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Linear(1280, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.fc(self.pool(functional.relu6(self.last(x))).flatten(1))
        return logits


class Functional(nn.Module):
    """The style of most tutorials: activations and pooling are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 9, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(9, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.relu(self.conv2(x)).mean((2, 3))
        logits: Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


def flat() -> nn.Sequential:
    pieces = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
    pieces += [nn.Conv2d(6, 9, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(9, 12, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*pieces, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))


def test_efficientnet_lite0_is_tapped_at_its_seven_stages() -> None:
    """Stem and activations inside blocks do not count; the last convolution is the cut itself: 2,064 dimensions."""
    parts = split(Lite0(), torch.randn(2, 3, 64, 64))
    assert widths(parts) == [16, 24, 40, 80, 112, 192, 320, 1280]
    assert parts.taps[-1].offset + parts.taps[-1].width == 2064


def test_stages_of_torchvision_networks(trained_statistics: Settle) -> None:
    """Networks of several builds: residual, inverted residual, dense, channels last."""
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = {
        "resnet18": [64, 128, 256, 512],
        "mobilenet_v2": [16, 24, 32, 64, 96, 160, 320, 1280],
        "mobilenet_v3_small": [16, 24, 40, 48, 96, 576, 1024],
        "shufflenet_v2_x0_5": [48, 96, 192, 1024],
        "regnet_y_400mf": [48, 104, 208, 440],
    }
    for name, taps in expected.items():
        assert widths(split(trained_statistics(getattr(models, name)(), x), x)) == taps, name


def test_a_flat_sequence_is_tapped_behind_its_activations(trained_statistics: Settle) -> None:
    """Without blocks the layers are the stages; the pooled last one equals the cut and is not taken twice."""
    x = torch.randn(3, 1, 16, 16)
    assert names(split(trained_statistics(flat(), x), x)) == ["2", "5", "11:input"]


def test_functional_activations_are_tapped_where_they_go_in() -> None:
    """The average of a convolution's output before its ReLU is linear in the input: what comes after is taken."""
    model, x = Functional().eval(), torch.randn(3, 1, 8, 8)
    parts = split(model, x)
    assert names(parts) == ["conv2:input", "fc1:input", "fc2:input"]
    with torch.no_grad():
        pooled = functional.max_pool2d(functional.relu(model.conv1(x)), 2).mean((2, 3))
        torch.testing.assert_close(parts.backbone(x)[:, :6], pooled)


def test_hidden_layers_of_a_perceptron_are_tapped_even_if_equally_wide() -> None:
    """Vectors have no resolution to tell stages by."""
    layers = [nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)]
    assert names(split(nn.Sequential(*layers), torch.randn(4, 5))) == ["1", "3", "6:input"]


def test_one_dimensional_convolutions_are_averaged_over_time() -> None:
    """Maps ``(n, channels, time)`` pool to their channels."""
    model = nn.Sequential(
        nn.Conv1d(3, 6, 5, 2), nn.ReLU(), nn.Conv1d(6, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(49, 2)
    )
    x = torch.randn(4, 3, 21)
    parts = split(model, x)
    assert names(parts) == ["1", "5:input"]
    with torch.no_grad():
        torch.testing.assert_close(parts.backbone(x)[:, :6], model[:2](x).mean(2))


def test_tokens_are_averaged_over_positions() -> None:
    """Maps ``(n, tokens, channels)`` pool to their channels, though the channels come last."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix, self.head = nn.Linear(3, 6), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(torch.tanh(self.mix(torch.tanh(self.embed(x))))[:, 0])
            return logits

    x = torch.randn(4, 5, 3)
    model = Tokens()
    parts = split(model, x)
    assert widths(parts) == [6, 8, 8]
    with torch.no_grad():
        torch.testing.assert_close(parts.backbone(x)[:, :6], model.embed(x).mean(1))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda net: nn.Sequential(net)])
def test_wrappers_do_not_hide_the_stages(wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Data-parallel and compiled modules, and containers, are looked through."""
    x = torch.randn(2, 3, 64, 64)
    assert widths(split(wrap(Lite0()), x)) == [16, 24, 40, 80, 112, 192, 320, 1280]
