"""What the tests of ONNX tails share: small networks, exported, and graphs written node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.quiet import quiet

from .training_parity import randomise

Float32 = NDArray[np.float32]
SIDE = 12


class Inverted(nn.Module):
    """An inverted residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.a, self.an = nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.b = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.c, self.cn = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.an(self.a(x)))
        y = self.cn(self.c(functional.hardswish(self.bn(self.b(y)))))
        return x + y if self.shortcut else y  # type: ignore[no-any-return]


class Basic(nn.Module):
    """A basic block of a ResNet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.an = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.b, self.bn = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn(self.b(torch.relu(self.an(self.a(x))))))


class Convolutional(nn.Module):
    """Two inverted residuals, of which the second has no shortcut, and a basic block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stemn = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.blocks = nn.ModuleList([Inverted(6, 6, 1), Inverted(6, 8, 2), Basic(8)])
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stemn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention over tokens, two heads, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * (c // 2) ** -0.5, -1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, c))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward layers, with a sum each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n1, self.attention, self.n2 = nn.LayerNorm(width), Attention(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.n1(x))
        return x + self.mlp(self.n2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.Sequential(Block(width), Block(width), Block(width))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1)
        return self.fc(self.norm(self.blocks(x))[:, 0])  # type: ignore[no-any-return]


def seeded(make: type[nn.Module]) -> nn.Module:
    """Return a network with weights and statistics as training leaves them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return randomise(make())


def exported(model: nn.Module, folder: Path, *, current: bool = False) -> bytes:
    """Export a network of frames with either of PyTorch's exporters."""
    target, x = folder / "model.onnx", torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with quiet():
        if current:
            free = ({0: torch.export.Dim("n")},)
            torch.onnx.export(model, (x,), target, dynamo=True, dynamic_shapes=free, external_data=False)
        else:
            torch.onnx.export(model, (x,), target, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    return target.read_bytes()


def frames(n: int) -> NDArray[np.uint8]:
    """Return raw frames."""
    return np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3)).astype(np.uint8)


def prepared(raw: NDArray[np.uint8]) -> Tensor:
    """Return frames as the networks take them, with mean and std .5."""
    x: Tensor = torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x


def written(nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> bytes:
    """Write a graph from ``x`` ``(n, *shape)`` to ``y``, the last node's output."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def normal(*shape: int, seed: int = 0) -> Float32:
    """Draw numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def between(
    middle: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], end: str = "b", shape: tuple[int, ...] = (3, 8, 8)
) -> bytes:
    """Put nodes from ``a`` ``(n, 4, 8, 8)`` to a map behind a convolution, and an average and a head behind them."""
    front = helper.make_node("Conv", ["x", "front"], ["a"], name="front", pads=[1, 1, 1, 1])
    behind = [
        helper.make_node("Conv", [end, "last"], ["c"], name="last"),
        helper.make_node("GlobalAveragePool", ["c"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w", "bias"], ["y"], name="fc", transB=1),
    ]
    channels = int(weights.pop("channels", np.array(4)))
    usual = {
        "front": normal(4, 3, 3, 3, seed=1),
        "last": normal(5, channels, 1, 1, seed=2),
        "w": normal(4, 5, seed=3),
        "bias": normal(4, seed=4),
    }
    return written([front, *middle, *behind], {**usual, **weights}, shape)
