"""The tails that `benchmarks.training_step` trains, in plain PyTorch, BatchNorm folded.

`python -m benchmarks.training_tails TAIL THREADS STEPS` trains one in PyTorch in a process of its own, and prints its
peak memory in MB.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH, CLASSES = 32, 10
SHAPES = {"linear": (1_280,), "inverted residual": (160, 7, 7), "basic block": (512, 7, 7)}


class BasicBlock(nn.Module):
    """The last block of ResNet-18 with its head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(512, 512, 3, padding=1), nn.Conv2d(512, 512, 3, padding=1)
        self.fc = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """From maps to logits."""
        y = functional.relu(self.conv2(functional.relu(self.conv1(x))) + x)
        logits: Tensor = self.fc(y.mean((2, 3)))
        return logits


def tail(name: str) -> nn.Module:
    """Return a tail: a linear layer, MobileNetV2's last block and its head, or ResNet-18's."""
    torch.manual_seed(0)
    if name == "linear":
        return nn.Linear(1_280, CLASSES)
    if name == "basic block":
        return BasicBlock()
    block = [nn.Conv2d(160, 960, 1), nn.ReLU6(), nn.Conv2d(960, 960, 3, padding=1, groups=960), nn.ReLU6()]
    head = [nn.Conv2d(960, 320, 1), nn.Conv2d(320, 1_280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*block, *head, nn.Linear(1_280, CLASSES))


def batch(name: str) -> tuple[Tensor, Tensor]:
    """Return a batch of maps, and its classes."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(BATCH, *SHAPES[name], generator=generator)
    return maps, torch.randint(CLASSES, (BATCH,), generator=generator)


def eager(name: str) -> Callable[[], float]:
    """Return a step of gradient descent with momentum in PyTorch, which gives its loss."""
    module, (maps, y) = tail(name), batch(name)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.001, momentum=0.9)

    def step() -> float:
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(maps), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.detach())

    return step


def main(name: str, threads: int, steps: int) -> None:
    """Train, and print the peak."""
    torch.set_num_threads(threads)
    step = eager(name)
    for _ in range(steps):
        step()
    with open("/proc/self/status") as status:
        print(int(status.read().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
