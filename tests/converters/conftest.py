"""What the tests of the converters share: a small network trained on digits, and what the exporters make of it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.original import Original, make_float, run_module
from acclimate.converters.preprocess import FramePreprocess
from acclimate.converters.splitting.split import Split, split
from acclimate.manifest import InputSpec

CALIBRATION = 64


class Inverted(nn.Module):
    """An inverted residual block with functional activations."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.expand, self.norm0 = nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.depth = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.project, self.norm2 = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.norm0(self.expand(x)))
        y = self.norm2(self.project(functional.relu6(self.norm1(self.depth(y)))))
        result: Tensor = x + y if self.shortcut else y
        return result


class DigitNet(nn.Module):
    """A network of the EfficientNet-Lite kind for frames of 8 x 8: 11 convolutions, 2 stages, a head on 64 features."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([Inverted(8, 12, 1), Inverted(12, 12, 1), Inverted(12, 24, 2)])
        self.last, self.norm1 = nn.Conv2d(24, 64, 1, bias=False), nn.BatchNorm2d(64)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        x = functional.relu6(self.norm1(self.last(x)))
        logits: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return logits


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits as raw frames."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def sklearn_datasets() -> ModuleType:
    """Skip where scikit-learn, which carries the data, is not installed."""
    module: ModuleType = pytest.importorskip("sklearn.datasets", reason="scikit-learn, which has the data, is missing")
    return module


@pytest.fixture(scope="session")
def digits(sklearn_datasets: ModuleType) -> Digits:
    """Return 1,797 frames ``(n, 8, 8, 1) uint8`` with labels, shuffled; the last 400 are never trained on."""
    raw = sklearn_datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(raw.target))
    return Digits((raw.images[order] * 15.9).astype(np.uint8)[..., None], raw.target[order].astype(np.int64))


def normalised(frames: NDArray[np.uint8]) -> Tensor:
    """Return frames as `DigitNet` was trained on them."""
    x: Tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x


@pytest.fixture(scope="session")
def digit_net(digits: Digits) -> nn.Module:
    """Return a trained network; it classifies about 97 % of the held-out digits right."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = DigitNet()
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        x, y = normalised(digits.frames[:-400]), torch.from_numpy(digits.labels[:-400])
        for _ in range(5):
            for rows in torch.randperm(len(x)).tensor_split(22):
                optimizer.zero_grad()
                torch.autograd.backward(functional.cross_entropy(net(x[rows]), y[rows]))
                optimizer.step()
    return net.eval()


@pytest.fixture(scope="session")
def digit_split(digit_net: nn.Module, digits: Digits) -> Split:
    """Return the network split at its head, with every tap."""
    return split(digit_net, normalised(digits.frames[:4]))


@pytest.fixture(scope="session")
def original(digit_split: Split, digits: Digits) -> Original:
    """Return what the exporters take: raw frames to latent."""
    module = nn.Sequential()
    module.add_module("preprocess", FramePreprocess((8, 8, 1), None, 1, [0.5], [0.5]))
    module.add_module("backbone", digit_split.backbone)
    spec = InputSpec((8, 8, 1), "uint8", (0, 255), ("height", "width", "channel"))
    samples = digits.frames[:CALIBRATION]
    return Original(module.eval(), spec, digit_split.taps, samples, run_module(module, samples))


@pytest.fixture(scope="session")
def float_onnx(original: Original) -> bytes:
    """Return the digit network in ONNX, in float."""
    return make_float("onnx", original)[0]


@pytest.fixture(scope="session")
def float_tflite(original: Original) -> bytes:
    """Return the digit network in TFLite, in float."""
    if find_spec("litert_torch") is None:
        pytest.skip("acclimate[convert-tflite] is not installed")
    return make_float("tflite", original)[0]


@pytest.fixture(scope="session")
def trained_statistics() -> Callable[[nn.Module, Tensor], nn.Module]:
    """Return a function that gives an untrained network statistics of its own in every BatchNorm."""

    def settle(model: nn.Module, x: Tensor) -> nn.Module:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None
        with torch.no_grad():
            model.train()(x)
        return model.eval()

    return settle
