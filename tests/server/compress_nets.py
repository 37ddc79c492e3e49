"""A small network for the tests of compression, with a layer that 8 bits are hard on."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)


class Net(nn.Module):
    """A shortcut, a depthwise convolution, functional activations, a SiLU, and a norm that is not affine."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.expand, self.norm0 = nn.Conv2d(8, 24, 1), nn.BatchNorm2d(24, affine=False)
        self.depth, self.norm1 = nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False), nn.BatchNorm2d(24)
        self.project, self.norm2 = nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.last, self.act = nn.Conv2d(8, 32, 3, 2, 1), nn.SiLU()
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        y = functional.relu6(self.norm0(self.expand(x)))
        y = functional.relu(self.norm1(self.depth(y)))
        x = self.act(self.last(x + self.norm2(self.project(y))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def frames(count: int, seed: int) -> Tensor:
    """Return smooth frames ``(n, 1, 12, 12) float32`` of different brightness."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator) * torch.rand(count, 1, 1, 1, generator=generator)
    return functional.interpolate(coarse, size=(12, 12), mode="bilinear")


def net(*, seed: int = 0) -> Net:
    """Return a network whose norms have statistics of their own, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Net()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        made.train()(frames(256, seed=1))
    return made.eval()


def hard(model: Net) -> Net:
    """Return one that computes the same, with two channels of the depthwise convolution 40 and 15 times as large."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for channel, factor in ((3, 40.0), (11, 15.0)):
            made.norm1.weight[channel] *= factor
            made.norm1.bias[channel] *= factor
            made.project.weight[:, channel] /= factor
    return made


def untouched(model: M) -> tuple[M, dict[str, Tensor]]:
    """Return a model with a copy of its tensors, to compare them afterwards."""
    return model, {name: value.clone() for name, value in model.state_dict().items()}
