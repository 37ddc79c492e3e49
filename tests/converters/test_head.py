"""Heads of other kinds than `nn.Linear`: written as one where that is exact, else refused with the reason."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.converters.splitting.split import split
from acclimate.converters.splitting.tail import split_tail
from acclimate.errors import CutError

pytestmark = pytest.mark.needs_torch
X = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def net(*head: nn.Module) -> nn.Sequential:
    """Two convolutions to maps ``(n, 9, 8, 8)``, and a head."""
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 9, 3), nn.ReLU()), *head)


def pool() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


class Cosine(nn.Module):
    """A layer that compares directions; what is normalised can be chosen."""

    def __init__(
        self,
        *,
        scale: float = 16.0,
        x: bool = True,
        weight: bool = True,
        bias: bool = False,
        columns: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*((9, 4) if columns else (4, 9))))
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = nn.Parameter(torch.randn(4)) if bias else 0.0
        self.x, self.w, self.columns = x, weight, columns

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.T if self.columns else self.weight
        weight = functional.normalize(weight) if self.w else weight
        return self.scale * functional.linear(functional.normalize(x) if self.x else x, weight) + self.shift


class Scaled(nn.Module):
    """A model whose logits are divided by a temperature outside of the head."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = net(), head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = 5.0 * self.head(self.body(x).mean((2, 3)))
        return logits


class Tokens(nn.Module):
    """A linear layer on every position, averaged afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = net(), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).flatten(2).transpose(1, 2)).mean(1)
        return logits


class ModelOutput(OrderedDict[str, Tensor]):
    """What Hugging Face's models return: a dictionary whose entries are attributes too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


class Returns(nn.Module):
    """A model that returns more than its logits."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.body, self.head, self.kind = net(), nn.Linear(9, 4), kind

    def forward(self, x: Tensor) -> Any:
        maps = self.body(x)
        return self.kind(logits=self.head(maps.mean((2, 3))), maps=maps)


EXACT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "convolution behind the pooling": (
        lambda: net(nn.AdaptiveAvgPool2d(1), nn.Conv2d(9, 4, 1), nn.Flatten()),
        "2.linear:input",
    ),
    "convolution in front of the pooling": (lambda: net(nn.Conv2d(9, 4, 1), *pool()), "1.linear:input"),
    "without bias": (lambda: net(nn.Conv2d(9, 4, 1, bias=False), *pool()), "1.linear:input"),
    "convolution of the whole map": (lambda: net(nn.Conv2d(9, 4, 8), nn.Flatten()), "1.linear:input"),
    "convolution over time": (
        lambda: net(nn.Flatten(2), nn.Conv1d(9, 4, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        "2.linear:input",
    ),
    "tokens": (Tokens, "head.linear:input"),
    "cosine": (lambda: net(*pool(), Cosine()), "3.linear:input"),
    "cosine with bias": (lambda: net(*pool(), Cosine(bias=True)), "3.linear:input"),
    "cosine, classes in columns": (lambda: net(*pool(), Cosine(columns=True)), "3.linear:input"),
    "only the weight normalised": (lambda: net(*pool(), Cosine(x=False)), "3.linear:input"),
    "only the latent normalised": (lambda: net(*pool(), Cosine(weight=False)), "3.linear:input"),
    "temperature": (lambda: Scaled(nn.Linear(9, 4)), "head.linear:input"),
    "cosine and temperature": (lambda: Scaled(Cosine(scale=1.0)), "head.linear:input"),
    "weight normalisation": (
        lambda: net(*pool(), torch.nn.utils.parametrizations.weight_norm(nn.Linear(9, 4))),
        "3:input",
    ),
    "an output with logits": (lambda: Returns(ModelOutput), "head:input"),
}


def made(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Any = model(x)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


@pytest.mark.parametrize("case", EXACT)
def test_heads_that_are_linear_in_one_vector_become_linear(case: str) -> None:
    """Weight and bias on the latent of samples not seen at the split give the model's logits; the model stays whole."""
    build, cut = EXACT[case]
    model = made(build)
    expected = logits_of(model, X.flip(3))
    parts = split(model, X)
    assert parts.cut == cut
    with torch.no_grad():
        latent = parts.backbone(X.flip(3)).numpy()
    logits = torch.from_numpy(latent @ parts.padded_weight().T + parts.bias)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits_of(model, X.flip(3)), expected)


@pytest.mark.parametrize("case", ["convolution in front of the pooling", "cosine and temperature"])
def test_a_tail_ends_in_the_linear_head(case: str) -> None:
    """The tail's head is the layer that was put in place, its latent the head's input."""
    model = made(EXACT[case][0])
    parts = split_tail(model, X, 1)
    logits, latent = parts.tail.with_taps(parts.backbone(X)[1])
    state = dict(parts.tail.module.named_parameters())
    assert parts.tail.bias is not None
    by_hand = latent[:, parts.tail.taps[-1].offset :] @ state[parts.tail.weight].T + state[parts.tail.bias]
    torch.testing.assert_close(by_hand, logits_of(model, X), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, by_hand)


class Bare(nn.Module):
    """A cosine head without a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(*pool())
        self.weight = nn.Parameter(torch.randn(4, 9))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.body(x)) @ functional.normalize(self.weight).T


def shared_cosine() -> nn.Module:
    layer, cosine = nn.Linear(9, 4), Cosine()
    cosine.weight = layer.weight  # type: ignore[assignment]  # torch calls it a tensor

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.other, self.head = net(*pool()), layer, cosine

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.body(x))
            return logits

    return Two()


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "an activation in between": (
        lambda: net(nn.Conv2d(9, 4, 1), nn.ReLU(), *pool()),
        "the convolution '1' with a ReLU in between. Pool first",
    ),
    "the maximum": (
        lambda: net(nn.Conv2d(9, 4, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        "with the maximum over positions in place of their average",
    ),
    "activation and maximum": (
        lambda: net(nn.Conv2d(9, 4, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        "a ReLU and the maximum over positions",
    ),
    "groups": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1, groups=2), *pool()), "in 2 groups"),
    "a wide kernel": (lambda: net(nn.Conv2d(9, 4, 3), *pool()), r"with a kernel of \(3, 3\)"),
    "pooling of one size": (
        lambda: net(nn.Conv2d(9, 4, 1), nn.AvgPool2d(8), nn.Flatten()),
        "pools in front of its last layer .* Pool with nn.AdaptiveAvgPool2d",
    ),
    "a dictionary": (
        lambda: Returns(dict),
        r"one tensor \(n, k\), found dict with \['logits'\] \(5, 4\), .* probably output\['logits'\]",
    ),
    "a tuple": (lambda: Returns(lambda logits, maps: (maps, logits)), r"found tuple .* probably output\[1\]"),
    "no module of its own": (Bare, "expected Bare to end in nn.Linear, found that none runs"),
    "a shared weight": (shared_cosine, "the head 'head' to have a weight of its own, found that 'other' shares it"),
    "a nonlinear head": (lambda: net(*pool(), nn.Linear(9, 4), nn.Tanh()), "found .* with other values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_heads_that_are_not_linear_are_refused_with_the_reason(case: str) -> None:
    """Each message says what stands in the way, and what would help."""
    build, message = REFUSED[case]
    with pytest.raises(CutError, match=message):
        split(made(build), X)


def test_a_shared_parametrized_class_is_left_alone() -> None:
    """Copies of a parametrized layer share its class; splitting one leaves the others working."""
    model = made(EXACT["weight normalisation"][0])
    other = net(*pool(), model[3])  # type: ignore[index]  # a Sequential
    expected = logits_of(other, X)
    split(model, X)
    torch.testing.assert_close(logits_of(other, X), expected)
    assert isinstance(model.get_parameter("3.parametrizations.weight.original0"), nn.Parameter)
