"""Each kind of layer trains in the compiled step as in PyTorch: logits, gradients and losses of several steps."""

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.training import compile_training

from .training_parity import Steps, randomise, torch_losses

C, H, K = 8, 6, 5


class Functional(nn.Module):
    """A tail made of functions: something between a convolution and the head."""

    def __init__(self, function: Callable[[Tensor], Tensor], features: int = C, kernel: int = 1) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(C, C, kernel, padding=kernel // 2), function
        self.fc = nn.Linear(features, K)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.conv(x))
        logits: Tensor = self.fc(y.mean((2, 3)) if y.dim() == 4 else y)
        return logits


class Residual(nn.Module):
    """A bottleneck with a projected shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.an = nn.Conv2d(C, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12)
        self.b, self.bn = nn.Conv2d(12, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12)
        self.s, self.sn = nn.Conv2d(C, 12, 1, 2, bias=False), nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.an(self.a(x)), inplace=True)
        y = self.bn(self.b(y))
        y += self.sn(self.s(x))
        return functional.relu(y)


class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(C, 4, 1), nn.Conv2d(4, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = functional.adaptive_avg_pool2d(x, 1)
        scale = functional.hardsigmoid(self.up(functional.relu(self.down(scale))))
        return scale * x


class Attend(nn.Module):
    """Self-attention over the positions of a map, written with scaled_dot_product_attention."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.norm, self.qkv, self.out, self.heads = nn.LayerNorm(C), nn.Linear(C, 3 * C), nn.Linear(C, C), heads
        self.fc = nn.Linear(C, K)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        n, t, c = tokens.shape
        q, k, v = self.qkv(self.norm(tokens)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        logits: Tensor = self.fc((tokens + self.out(y)).mean(1))
        return logits


class Relative(nn.Module):
    """A bias that is looked up in a table by relative position, as in Swin."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, C))
        self.register_buffer("places", torch.randint(7, (H * H,), generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.table[self.places].t().reshape(1, C, H, H)
        return y


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a map, between two permutations, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.scale = nn.LayerNorm(C), nn.Parameter(torch.full((C, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.scale * self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y


class Shuffle(nn.Module):
    """Channels in two halves, of which one is convolved, joined and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C // 2, C // 2, 3, 1, 1, groups=C // 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat([a, self.conv(b)], 1)
        n, c, h, w = y.shape
        shuffled: Tensor = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return shuffled


def head(*layers: nn.Module, features: int = C) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, K))


def conv(kernel: int | tuple[int, int], outputs: int = C, **options: object) -> Callable[[], nn.Module]:
    return lambda: head(nn.Conv2d(C, outputs, kernel, **options), nn.ReLU(), features=outputs)  # type: ignore[arg-type]


def activation(layer: nn.Module) -> Callable[[], nn.Module]:
    return lambda: head(nn.Conv2d(C, C, 1), layer, nn.Conv2d(C, C, 1))


def function(of: Callable[[Tensor], Tensor], features: int = C, kernel: int = 1) -> Callable[[], nn.Module]:
    return lambda: Functional(of, features, kernel)


CONVOLUTIONS = {
    "pointwise": conv(1),
    "pointwise, strided": conv(1, stride=2),
    "3x3": conv(3, padding=1),
    "3x3, no bias": conv(3, padding=1, bias=False),
    "3x3, no padding": conv(3),
    "3x3, strided": conv(3, padding=1, stride=2),
    "3x3, dilated": conv(3, padding=2, dilation=2),
    "3x3, same": conv(3, padding="same"),
    "5x3, uneven strides": conv((5, 3), padding=(2, 1), stride=(1, 2)),
    "2x2, strided": conv(2, stride=2),
    "7x7, more padding than map": conv(7, padding=5),
    "grouped": conv(3, 12, padding=1, groups=4),
    "grouped, strided": conv(3, 12, padding=1, groups=2, stride=2),
    "grouped pointwise": conv(1, 12, groups=4),
    "depthwise": conv(3, padding=1, groups=C),
    "depthwise, strided": conv(3, padding=1, stride=2, groups=C),
    "depthwise, 5x5": conv(5, padding=2, groups=C),
    "depthwise, dilated": conv(3, padding=2, dilation=2, groups=C),
    "depthwise with a multiplier": conv(3, 2 * C, padding=1, groups=C),
    "Winograd": lambda: head(nn.Conv2d(C, 256, 1), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), features=256),
}
ACTIVATIONS = {
    type(layer).__name__: activation(layer)
    for layer in (
        nn.ReLU(),
        nn.ReLU6(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Hardtanh(-1.5, 0.5),
        nn.SiLU(),
        nn.GELU(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.ELU(),
        nn.LeakyReLU(0.1),
        nn.Softplus(),
        nn.Mish(),
        nn.PReLU(C),
        nn.Softmax(1),
        nn.Identity(),
        nn.Dropout(0.5),
    )
} | {"GELU, tanh": activation(nn.GELU("tanh"))}
POOLS = {
    "average": lambda: head(nn.Conv2d(C, C, 1), nn.AvgPool2d(2)),
    "average, padded": lambda: head(nn.Conv2d(C, C, 1), nn.AvgPool2d(3, 2, 1)),
    "average, padding not counted": lambda: head(nn.Conv2d(C, C, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "average, ceiling": lambda: head(nn.Conv2d(C, C, 1), nn.AvgPool2d(4, 3, 1, ceil_mode=True)),
    "maximum": lambda: head(nn.Conv2d(C, C, 1), nn.MaxPool2d(2)),
    "maximum after a rectifier": lambda: head(nn.Conv2d(C, C, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    "maximum, ceiling": lambda: head(nn.Conv2d(C, C, 1), nn.MaxPool2d(4, 3, ceil_mode=True)),
    "adaptive": lambda: nn.Sequential(nn.Conv2d(C, C, 1), nn.AdaptiveAvgPool2d((4, 3)), nn.Flatten(), nn.Linear(96, K)),
    "mean": function(torch.nn.Identity()),
    "amax": function(lambda x: x.amax((2, 3))),
    "flattened": function(lambda x: x.flatten(1), C * H * H),
}
BLOCKS = {
    "inverted residual": lambda: head(
        nn.Conv2d(C, 32, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU6(),
        nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU6(),
        nn.Conv2d(32, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        features=16,
    ),
    "residual with a projection": lambda: head(Residual(), features=12),
    "excitation": lambda: head(nn.Conv2d(C, C, 1), Excite()),
    "BatchNorm first": lambda: head(nn.BatchNorm2d(C), nn.ReLU(), nn.Conv2d(C, C, 3, padding=1)),
    "LayerNorm of channels": lambda: head(nn.Conv2d(C, C, 3, padding=1), LayerNorm2d()),
    "relative positions": lambda: head(nn.Conv2d(C, C, 1), Relative()),
    "GroupNorm": lambda: head(nn.Conv2d(C, C, 1), nn.GroupNorm(2, C)),
    "response norm": function(lambda x: x + x * x.norm(dim=(2, 3), keepdim=True)),
    "shuffle": lambda: head(nn.Conv2d(C, C, 1), Shuffle()),
    "attention": Attend,
    "arithmetic": function(lambda x: (x.abs() + 1).sqrt() * x.exp().clamp(max=2) / (x**2 + 1) - torch.sin(x), kernel=3),
    "split": function(lambda x: x[:, :4] * x[:, 4:].sigmoid(), 4),
    "where": function(lambda x: torch.where(x > 0.1, x, x * 0.3)),
}


QUICK = {
    "pointwise, strided",
    "3x3",
    "3x3, strided",
    "3x3, dilated",
    "grouped, strided",
    "depthwise",
    "depthwise, strided",
    "Winograd",
    "average, padding not counted",
    "maximum after a rectifier",
    "ReLU6",
    "Hardswish",
    "GELU",
    "SiLU",
    "residual with a projection",
    "excitation",
    "LayerNorm of channels",
    "relative positions",
    "attention",
}


def _cases(*tables: dict[str, Callable[[], nn.Module]]) -> list[object]:
    """Return the tails to compile; each takes a second or two, so only some are compiled by default."""
    both = {name: build for table in tables for name, build in table.items()}
    return [pytest.param(b, id=n, marks=() if n in QUICK else pytest.mark.slow) for n, b in both.items()]


@pytest.mark.parametrize("build", _cases(CONVOLUTIONS, POOLS))
def test_convolutions_and_pooling(build: Callable[[], nn.Module]) -> None:
    """Convolutions of every form and pooling train as in PyTorch."""
    _train(build(), torch.randn(6, C, H, H, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("build", _cases(ACTIVATIONS, BLOCKS))
def test_activations_and_blocks(build: Callable[[], nn.Module]) -> None:
    """Activations, norms, attention and residual blocks train as in PyTorch."""
    _train(build(), torch.randn(6, C, H, H, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("size", [(12, 12), (14, 9)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_on_larger_maps(size: tuple[int, int], stride: int) -> None:
    """A depthwise convolution takes another form on a larger map, with the same result."""
    maps = torch.randn(4, C, *size, generator=torch.Generator().manual_seed(3))
    _train(head(nn.Conv2d(C, C, 3, stride, 1, groups=C), nn.ReLU()), maps)


def test_tokens() -> None:
    """An encoder layer of a transformer on tokens trains as in PyTorch."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu", norm_first=True)
            self.fc = nn.Linear(16, K)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.layer(x)[:, 0])
            return logits

    _train(Encoder(), torch.randn(6, 7, 16, generator=torch.Generator().manual_seed(4)))


def test_sequences() -> None:
    """One-dimensional convolutions and norms, and plain features, train as in PyTorch."""
    signal = nn.Sequential(nn.Conv1d(4, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(64, K))
    _train(signal, torch.randn(6, 4, 16, generator=torch.Generator().manual_seed(5)))
    flat = nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, K))
    _train(flat, torch.randn(6, 12, generator=torch.Generator().manual_seed(6)))


def _train(tail: nn.Module, maps: Tensor) -> None:
    """Compile for both optimisers; gradients were checked against double precision in it, here come several steps."""
    torch.set_num_threads(1)
    tail = randomise(tail)
    compiled = compile_training(tail, maps, penalty="none")
    assert compiled.difference.logits < 2e-5
    assert compiled.difference.gradient < 2e-4
    steps = Steps(compiled)
    rng = np.random.default_rng(0)
    target = np.eye(K, dtype=np.float32)[rng.integers(0, K, len(maps))]
    weight = rng.uniform(0.5, 2, len(maps)).astype(np.float32)
    scalars = {"learning_rate": 0.05, "momentum": 0.9}
    found = [steps.step(maps.numpy(), target, weight, scalars) for _ in range(5)]
    expected = torch_losses(tail, compiled, maps, target, weight, 5)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
