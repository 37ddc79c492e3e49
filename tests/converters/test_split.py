"""Splitting a model: what comes out computes what went in, and what cannot be split is refused in plain words."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.splitting.split import Split, split
from acclimate.errors import CutError, InputError

pytestmark = pytest.mark.needs_torch
X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.b(self.act(self.a(x))) + self.shortcut(x))
        return result


class ResidualNet(nn.Module):
    """Two stages of two blocks each, dropout and a head on 9 features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Residual(1, 6, 1), Residual(6, 6, 1)
        self.third, self.fourth = Residual(6, 9, 2), Residual(9, 9, 1)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fourth(self.third(self.second(self.first(x))))
        logits: Tensor = self.fc(self.drop(x.mean((2, 3))))
        return logits


class Custom(nn.Module):
    """A model whose forward is given, with one layer under a name."""

    def __init__(self, forward: Callable[["Custom", Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> object:
        return self._forward(self, x)


def test_cut_and_head_together_give_the_model() -> None:
    """The head's weight on the latent's last dimensions gives the logits; the padded one on the whole latent too."""
    model = ResidualNet().eval()
    parts = split(model, X)
    with torch.no_grad():
        latent, logits = parts.backbone(X).numpy(), model(X).numpy()
    assert latent.dtype == np.float32
    assert [(tap.offset, tap.width) for tap in parts.taps] == [(0, 6), (6, 9)]
    np.testing.assert_allclose(latent[:, 6:] @ parts.weight.T + parts.bias, logits, atol=1e-6)
    np.testing.assert_allclose(latent @ parts.padded_weight().T + parts.bias, logits, atol=1e-6)


def test_taps_are_the_averages_of_the_activations() -> None:
    """Each tap equals the mean over positions of what its module returns, in-place activations or not."""
    model = ResidualNet().eval()
    parts = split(model, X, taps=["first", "third.b", "fourth.act@2", "third:input"])
    with torch.no_grad():
        first = model.first(X)
        second = model.second(first)
        inner = model.third.b(model.third.act(model.third.a(second)))
        last = model.fourth(model.third(second))
        expected = torch.cat([part.mean((2, 3)) for part in (first, inner, last, second)], 1)
        torch.testing.assert_close(parts.backbone(X)[:, :30], expected)
    assert [tap.name for tap in parts.taps] == ["first", "third.b", "fourth.act@2", "third:input", "fc:input"]


def test_the_callers_model_is_left_alone() -> None:
    """Weights, training mode, gradients and hooks stay; the backbone is frozen, and stays in evaluation mode."""
    model = ResidualNet().train()
    before = copy.deepcopy(model.state_dict())
    parts = split(model, X)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    parts.backbone.train()
    assert not any(module.training for module in parts.backbone.modules())
    assert not any(p.requires_grad for p in parts.backbone.parameters())
    model.fc.weight.data.zero_()
    assert np.abs(parts.weight).max() > 0


def test_last_takes_the_cut_alone_and_a_linear_model_is_its_own_cut() -> None:
    """`taps="last"`, and a model that is nothing but a linear layer."""
    parts = split(ResidualNet(), X, taps="last")
    assert [(tap.name, tap.width) for tap in parts.taps] == [("fc:input", 9)]
    alone = split(nn.Linear(5, 2, bias=False), torch.randn(4, 5))
    assert [(tap.name, tap.width) for tap in alone.taps] == [("model:input", 5)]
    assert not alone.bias.any()


def test_half_precision_models_become_float32() -> None:
    """A checkpoint kept in bfloat16 is split in float32, which the device computes in."""
    parts = split(ResidualNet().to(torch.bfloat16), X)
    with torch.no_grad():
        assert parts.backbone(X).dtype == torch.float32
    assert parts.weight.dtype == np.float32


def test_a_flattened_map_is_not_averaged_again() -> None:
    """A cut that holds the whole last map makes a tap on the same map superfluous."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    assert [tap.name for tap in split(model, X).taps] == ["3:input"]


def linear_net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3), *layers)


def with_nan() -> nn.Module:
    model = linear_net()
    with torch.no_grad():
        model.get_parameter("1.weight")[0, 0] = float("nan")
    return model


def tied() -> nn.Module:
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)


def twice() -> nn.Module:
    return Custom(lambda m, x: m.get_submodule("a")(m.get_submodule("a")(x.flatten(1))), a=nn.Linear(64, 64))


def norm(**options: bool) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, **options), nn.Flatten(), nn.Linear(144, 3))


def scripted() -> nn.Module:
    module: nn.Module = torch.jit.trace(linear_net(), X)  # type: ignore[no-untyped-call]
    return module


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, 3)

    def forward(self, image: Tensor, scale: Tensor) -> Tensor:
        logits: Tensor = self.a(image.flatten(1) * scale)
        return logits


def a(m: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = m.get_submodule("a")(x)
    return result


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no module": (lambda: "model.pt", "expected a torch.nn.Module, found str"),
    "softmax": (lambda: linear_net(nn.Softmax(1)), "found the softmax of it. Return the logits"),
    "log softmax": (lambda: linear_net(nn.LogSoftmax(1)), "the logarithm of the softmax"),
    "sigmoid": (lambda: linear_net(nn.Sigmoid()), "the sigmoid"),
    "something after": (lambda: linear_net(nn.Tanh()), r"The last module that runs is '4' \(Tanh\)"),
    "convolution at the end": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        r"the last layer is the convolution '0' with a kernel of \(3, 3\)",
    ),
    "several outputs": (
        lambda: Custom(lambda m, x: (a(m, x.flatten(1)), x), a=nn.Linear(64, 3)),
        "return one tensor .* found tuple",
    ),
    "several inputs": (TwoInputs, r"needs \['image', 'scale'\]. Wrap it"),
    "not finite": (with_nan, "found NaN or infinity in '1.weight'"),
    "shared weight": (tied, "'3' to have a weight of its own, found that '1' shares it"),
    "head runs twice": (twice, "head 'a' to run once, found 2 runs"),
    "untouched statistics": (norm, r"'1' \(BatchNorm2d\) to have seen data, .*mean 0, variance 1"),
    "no statistics": (lambda: norm(track_running_stats=False), "depend on its neighbours"),
    "tokens": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(64, 3)), "one vector .* per sample, found .3, 1, 64."),
    "random": (
        lambda: Custom(lambda m, x: a(m, functional.dropout(x.flatten(1))), a=nn.Linear(64, 3)),
        "found a different one in a second run",
    ),
    "mixes the batch": (
        lambda: Custom(lambda m, x: a(m, (x - x.mean(0)).flatten(1)), a=nn.Linear(64, 3)),
        "the same alone and in a batch",
    ),
    "folds the batch": (
        lambda: Custom(lambda m, x: a(m, x.reshape(-1, 32)), a=nn.Linear(32, 3)),
        "one vector .* per sample|alone and in a batch",
    ),
    "wrong size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 3)), "Check the frame's size"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "lazy. Run the model once first"),
    "scripted": (scripted, "found a scripted one. Pass the module it was made from"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_split_is_refused_with_the_reason_and_a_remedy(case: str) -> None:
    """Each message names what was found, and what would help."""
    make, message = REFUSED[case]
    with pytest.raises(CutError, match=message):
        split(make(), X)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ("both", "expected taps 'last', 'all' or a list"),
        (["forth"], r"found 'forth'. Close to it: \['fourth'"),
        (["fourth.act"], "found 2. Say which is meant: fourth.act@1 to fourth.act@2"),
        (["fourth.act@3"], "from fourth.act@1 to fourth.act@2"),
        (["fc"], "in front of the head 'fc'"),
    ],
)
def test_taps_that_are_none_are_refused(taps: Any, message: str) -> None:
    """Unknown and ambiguous names, and modules behind the cut."""
    with pytest.raises(CutError, match=message):
        split(ResidualNet(), X, taps=taps)


@pytest.mark.parametrize("sample", [X[:1], X.double(), X[0, 0, 0], X.numpy(), X * float("nan")])
def test_a_sample_batch_that_is_none_is_refused(sample: Tensor) -> None:
    """One sample, another type, a single axis, an array, values that are not finite."""
    with pytest.raises(InputError, match="expected a sample batch"):
        split(ResidualNet(), sample)


def test_the_result_is_frozen() -> None:
    """A split cannot be changed by accident."""
    parts: Split = split(linear_net(), X)
    with pytest.raises(AttributeError):
        parts.cut = "elsewhere"  # type: ignore[misc]
