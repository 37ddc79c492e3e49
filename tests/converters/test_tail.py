"""Cutting in front of the last blocks: backbone and tail compute what the model did, and the tail trains."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.splitting.split import split
from acclimate.converters.splitting.tail import TailSplit, split_tail
from acclimate.errors import CutError

pytestmark = pytest.mark.needs_torch
Settle = Callable[[nn.Module, Tensor], nn.Module]
Sample = tuple[nn.Module, Tensor]


class Residual(nn.Module):
    """Two convolutions with batch normalisation and a shortcut; the activation overwrites what it takes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)
        self.b, self.shortcut = nn.Conv2d(outputs, outputs, 3, 1, 1), nn.Conv2d(inputs, outputs, 1, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.b(self.act(self.norm(self.a(x)))) + self.shortcut(x))
        return result


class ResidualNet(nn.Module):
    """Four blocks of two widths, dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Residual(3, 6, 1), Residual(6, 6, 1), Residual(6, 9, 2), Residual(9, 9, 1)])
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.fc(self.drop(x.mean((2, 3))))
        return logits


class Functional(nn.Module):
    """The style of most tutorials, with functions that overwrite their input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 9, 3), nn.Conv2d(9, 9, 3, groups=9)
        self.fc1, self.fc2 = nn.Linear(9, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.relu_(self.conv2(x))
        x = functional.hardswish(self.conv3(x), inplace=True).mean((2, 3))
        logits: Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


class Custom(nn.Module):
    """A model whose forward is given, with one layer under a name."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def perceptron() -> Sample:
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 3)]
    return nn.Sequential(*layers), torch.randn(4, 6)


def inverted() -> Sample:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    setting = [[1, 8, 1, 1], [6, 12, 2, 2], [6, 16, 1, 1]]
    return models.MobileNetV2(num_classes=4, inverted_residual_setting=setting, width_mult=0.5), images()


def efficient() -> Sample:
    net = pytest.importorskip("torchvision.models.efficientnet", reason="torchvision is not installed")
    setting = [net.MBConvConfig(1, 3, 1, 8, 8, 1, 1, 1), net.MBConvConfig(4, 5, 2, 8, 16, 2, 1, 1)]
    return net.EfficientNet(setting, dropout=0.2, num_classes=4, last_channel=32), images()


def convnext() -> Sample:
    net = pytest.importorskip("torchvision.models.convnext", reason="torchvision is not installed")
    setting = [net.CNBlockConfig(8, 16, 2), net.CNBlockConfig(16, None, 2)]
    return net.ConvNeXt(setting, num_classes=4, layer_scale=1.0), images()


def densenet() -> Sample:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    return models.DenseNet(4, (2, 2), 8, num_classes=4), images()


def swin() -> Sample:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    return models.SwinTransformer([2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=4), images()


def vit() -> Sample:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
    return timm.models.VisionTransformer(num_classes=4, **size), images()


def bert() -> Sample:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=20, num_labels=4, **sizes)
    return transformers.BertForSequenceClassification(config), torch.randint(0, 50, (4, 9))


def overwritten() -> Sample:
    def forward(m: Any, x: Tensor) -> Tensor:
        hidden = m.b(m.a(x))
        logits: Tensor = m.fc(m.act(hidden) + hidden)
        return logits

    layers = {"a": nn.Linear(6, 6), "b": nn.Linear(6, 6), "act": nn.ReLU(inplace=True), "fc": nn.Linear(6, 3)}
    return Custom(forward, **layers), torch.randn(4, 6)


# How to cut, the cut's name, and the shape of a map.
CASES: dict[str, tuple[Callable[[], Sample], str | int, str, tuple[int, ...]]] = {
    "perceptron": (perceptron, 1, "1", (8,)),
    "residual": (lambda: (ResidualNet(), images(8)), 1, "blocks.2", (9, 4, 4)),
    "residual, by name": (lambda: (ResidualNet(), images(8)), "blocks.2:input", "blocks.2:input", (6, 8, 8)),
    "residual, second call": (
        lambda: (ResidualNet(), images(8)),
        "blocks.2.act@2",
        "blocks.2.act@2",
        (9, 4, 4),
    ),
    "overwritten behind the cut": (lambda: (Functional(), images(16)), "conv3", "conv3", (9, 3, 3)),
    "overwritten and read again": (overwritten, "a", "a", (6,)),
    "functional": (lambda: (Functional(), images(16)), 2, "conv3:input", (9, 5, 5)),
    "functional, deep": (lambda: (Functional(), images(16)), "conv2:input", "conv2:input", (6, 7, 7)),
    "inverted residual": (inverted, 2, "features.3", (8, 8, 8)),
    "squeeze and excitation": (efficient, 2, "features.2.0", (16, 8, 8)),
    "ConvNeXt": (convnext, 1, "features.3.0", (16, 4, 4)),
    "DenseNet": (densenet, 1, "features.transition1", (8, 4, 4)),
    "shifted windows": (swin, 1, "features.3.0", (8, 8, 32)),
    "vision transformer": (vit, 1, "blocks.1", (17, 24)),
    "text encoder": (bert, 2, "bert.encoder.layer.1", (9, 16)),
}


def settled(case: str, settle: Settle) -> tuple[nn.Module, Tensor, TailSplit]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = CASES[case][0]()
        model = settle(model, x)
    return model, x, split_tail(model, x, CASES[case][1])


def logits_of(output: Any) -> Tensor:
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if "windows" in c else c for c in CASES])
def test_backbone_and_tail_together_give_the_model_and_its_gradients(case: str, trained_statistics: Settle) -> None:
    """Logits of other samples and batch sizes, every tap, and the gradient of each weight under the model's name."""
    model, x, parts = settled(case, trained_statistics)
    tail = parts.tail
    assert (tail.cut, tail.map_shape) == CASES[case][2:]
    other = x.flip(0).flip(-1).repeat(2, *[1] * (x.dim() - 1))[:7]
    expected = logits_of(model(other))
    latent, maps = parts.backbone(other)
    assert maps.shape == (7, *tail.map_shape)
    logits, behind = tail.with_taps(maps)
    assert distance(tail.module(maps), expected) <= 1e-5
    assert distance(tail.module(maps[:1]), expected[:1]) <= 1e-5
    assert distance(logits, expected) <= 1e-5
    whole = split(model, x)
    found = {tap.name: latent[:, tap.offset :][:, : tap.width] for tap in parts.taps}
    found |= {tap.name: behind[:, tap.offset :][:, : tap.width] for tap in tail.taps}
    for tap in whole.taps:
        wanted = whole.backbone(other)[:, tap.offset :][:, : tap.width]
        torch.testing.assert_close(found[tap.name], wanted, rtol=1e-4, atol=1e-5, msg=tap.name)
    target = torch.arange(7) % expected.shape[1]
    torch.autograd.backward(functional.cross_entropy(expected, target))
    torch.autograd.backward(functional.cross_entropy(tail.module(maps.detach()), target))
    wanted_gradients = dict(model.named_parameters())
    trained = dict(tail.module.named_parameters())
    assert trained
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, wanted_gradients[name].grad, rtol=1e-3, atol=1e-5, msg=name)
    assert tail.weight in trained
    assert tail.bias in trained


@pytest.mark.parametrize("case", ["residual", "vision transformer"])
def test_the_tail_is_recorded_again_for_any_batch(case: str, trained_statistics: Settle) -> None:
    """`torch.export` takes the tail with a batch axis of any length, as the compiler of the training step needs."""
    _, x, parts = settled(case, trained_statistics)
    maps = parts.backbone(x)[1]
    any_length = ({0: torch.export.Dim("n", min=1, max=65536)},)
    again = torch.export.export(parts.tail.module, (maps,), dynamic_shapes=any_length).module()
    torch.testing.assert_close(again(maps[:1]), parts.tail.module(maps[:1]))


def test_training_the_tail_changes_its_taps_and_nothing_in_front(trained_statistics: Settle) -> None:
    """Both forms of the tail share their parameters; backbone and the caller's model have their own."""
    model, x, parts = settled("residual", trained_statistics)
    before = copy.deepcopy(model.state_dict())
    latent, maps = parts.backbone(x)
    logits, taps = parts.tail.with_taps(maps)
    with torch.no_grad():
        for parameter in parts.tail.module.parameters():
            parameter.mul_(1.5)
    changed, recomputed = parts.tail.with_taps(maps)
    assert not torch.allclose(logits, changed)
    assert not torch.allclose(taps, recomputed)
    torch.testing.assert_close(changed, parts.tail.module(maps))
    torch.testing.assert_close(parts.backbone(x)[0], latent)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(p.requires_grad for p in parts.backbone.parameters())


def test_notes_name_what_behaves_otherwise(trained_statistics: Settle) -> None:
    """Batch normalisation and dropout behind the cut are noted, those in front are not."""
    _, _, parts = settled("residual", trained_statistics)
    assert any("1 batch normalisation" in note for note in parts.tail.notes)
    assert any("dropout is off" in note and note.endswith("drop.") for note in parts.tail.notes)
    assert settled("perceptron", trained_statistics)[2].tail.notes == ()


def test_computed_weights_become_ordinary_ones_and_the_caller_keeps_its_own() -> None:
    """Weight normalisation behind the cut is written out in the copy only."""
    normed = torch.nn.utils.parametrizations.weight_norm
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), normed(nn.Linear(5, 5)), nn.ReLU(), normed(nn.Linear(5, 2)))
    x = torch.randn(4, 6)
    expected = model(x)
    parts = split_tail(model, x, "1")
    assert set(dict(parts.tail.module.named_parameters())) == {"2.weight", "2.bias", "4.weight", "4.bias"}
    torch.testing.assert_close(parts.tail.module(parts.backbone(x)[1]), expected)
    torch.testing.assert_close(model(x), expected)


def shared_layer() -> Sample:
    layer = nn.Linear(6, 6)
    return nn.Sequential(nn.Linear(6, 6), layer, nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), layer, nn.Linear(6, 2)), X


def tied() -> Sample:
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(6, 2)), X


def by(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[], Sample]:
    return lambda: (Custom(forward, a=nn.Linear(6, 6), b=nn.Linear(6, 6), fc=nn.Linear(6, 2)), X)


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
REFUSED: dict[str, tuple[Callable[[], Sample], str | int, str]] = {
    "inside a residual block": (
        lambda: (ResidualNet(), images(8)),
        "blocks.2.b",
        r"'conv2d' in 'blocks.2.shortcut' passes by it .* Cuts near it that do: \['blocks.[12]', 'blocks.[12]'",
    ),
    "inside a dense block": (densenet, "features.denseblock2.denselayer1", "passes by it .*'features.transition1'"),
    "the input passes by": (by(lambda m, x: m.fc(m.b(m.a(x)) + x)), "a", "the model's input passes by it"),
    "a branch": (by(lambda m, x: m.fc(m.a(x).relu() * m.b(x).sigmoid())), "b", "passes by it"),
    "nothing depends on it": (by(lambda m, x: (m.b(x), m.fc(m.a(x)))[1]), "b", "nothing of the output|passes by"),
    "the input": (perceptron, "0:input", "which is the model's input: nothing is left in front"),
    "the head": (perceptron, "3", "the head alone: leave the cut out"),
    "behind the head": (perceptron, "4", "expected a cut in front of the head '4'"),
    "no such name": (perceptron, "5", "expected the name of a module that runs as a cut, found '5'"),
    "too many blocks": (perceptron, 2, r"a tail of 1 to 1 blocks, found 2. Possible cuts, from the head: \['1'\]"),
    "no block": (perceptron, 0, "a tail of 1 to 1 blocks, found 0"),
    "one layer on both sides": (shared_layer, "2", "found that 5.bias, 5.weight serve both sides"),
    "one weight on both sides": (tied, "1", r"found that \d.weight serve both sides"),
    "control flow": (
        by(lambda m, x: m.fc(m.a(x) if x.sum() > 0 else m.b(x))),
        "a",
        "to be the same for every input, .* Take branches and loops",
    ),
    "a fixed batch": (by(lambda m, x: m.fc(m.a(x).reshape(4, 6))), "a", "alone and in a batch|any number of samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_separate_is_refused_with_the_node_and_cuts_that_do(
    case: str, trained_statistics: Settle
) -> None:
    """Each message names what was found, and what would help."""
    make, cut, message = REFUSED[case]
    model, x = make()
    with pytest.raises(CutError, match=message):
        split_tail(trained_statistics(model, x), x, cut)


def test_a_weight_that_is_tied_inside_the_tail_stays_one() -> None:
    """Two layers behind the cut that share a weight go on sharing it."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(6, 2))
    parts = split_tail(model, X, "1")
    assert len(list(parts.tail.module.parameters())) == 5
    with torch.no_grad():
        next(p for p in parts.tail.module.parameters() if p.shape == (6, 6)).zero_()
        first.weight.zero_()
    torch.testing.assert_close(parts.tail.module(parts.backbone(X)[1]), model(X))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "efficientnet_b0", "densenet121"])
def test_networks_of_torchvision(name: str, trained_statistics: Settle) -> None:
    """Whole networks: the last two blocks and the head give the model's logits."""
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    model, x = getattr(models, name)(num_classes=5), images(64)
    parts = split_tail(trained_statistics(model, x), x, 2)
    with torch.no_grad():
        expected = model(x)
        found = parts.tail.module(parts.backbone(x)[1])
    assert distance(found, expected) <= 1e-5
