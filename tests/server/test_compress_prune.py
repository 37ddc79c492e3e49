"""Pruning takes out what matters least, leaves the original as it was, and refuses what it cannot follow."""

import copy
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torch_pruning", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from acclimate.errors import InputError
from acclimate.server.compress import PruneReport, hold_ranges, prune
from acclimate.server.compress.channels import Cut, rounded_width

pytestmark = pytest.mark.needs_torch
SAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """A stem, a block with a shortcut around a depthwise convolution, a branch that is joined, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.expand, self.depth = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.project, self.side = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 24, 3, 2, 1)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.project(functional.relu(self.depth(functional.relu(self.expand(x)))))
        both = torch.cat((functional.relu(self.side(x)), functional.avg_pool2d(x, 2)), 1)
        logits: Tensor = self.head(both.mean((2, 3)))
        return logits


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def width(report: PruneReport, name: str) -> int:
    return next(one.after for one in report.layers if one.name == name)


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_widths_fit_each_other_and_the_original_stays(ratio: float) -> None:
    """Over a shortcut, a depthwise convolution and a joining; widths are multiples; the head's outputs stay."""
    model = seeded(Residual).train()
    model.get_submodule("stem").requires_grad_(requires_grad=False)
    before = copy.deepcopy(model.state_dict())
    small, report = prune(model, SAMPLE, ratio=ratio)
    with torch.no_grad():
        assert small(SAMPLE).shape == (2, 5)
    assert report.parameters[0] == sum(p.numel() for p in model.parameters())
    assert report.parameters[1] == sum(p.numel() for p in small.parameters()) < report.parameters[0]
    assert width(report, "stem") == width(report, "project")
    assert width(report, "expand") == width(report, "depth")
    assert width(report, "head") == 5
    assert all(one.after % 8 == 0 for one in report.layers if one.name != "head")
    assert 0 < report.removed <= ratio + 0.1
    assert type(small) is Residual
    assert not small.training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trains = {name: parameter.requires_grad for name, parameter in small.named_parameters()}
    assert trains == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert all(parameter.grad is None for parameter in small.parameters())


@pytest.mark.parametrize("importance", ["l2", "taylor"])
def test_channels_that_do_nothing_go_first(importance: str) -> None:
    """Half of a layer's channels are zero on both sides: they go, and the answers stay as they were."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 4)))
    dead = torch.randperm(32, generator=torch.Generator().manual_seed(1))[:16]
    first, last = model.get_submodule("0"), model.get_submodule("3")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight[dead] = 0
        assert first.bias is not None
        first.bias[dead] = 0
        last.weight.view(4, 32, 36)[:, dead] = 0
    loss = (lambda net: net(SAMPLE).square().mean()) if importance == "taylor" else None
    small, report = prune(model, SAMPLE, ratio=0.5, importance=importance, loss=loss)  # type: ignore[arg-type]
    assert width(report, "0") == 16
    with torch.no_grad():
        torch.testing.assert_close(small(SAMPLE), model(SAMPLE))


def test_taylor_sees_what_the_norm_does_not() -> None:
    """Channels with large weights that the loss does not depend on: the norm keeps them, the loss lets them go."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 32, 1), nn.Flatten(), nn.Linear(32 * 64, 4, bias=False)))
    first = model.get_submodule("0")
    assert isinstance(first, nn.Conv2d)
    idle = torch.arange(16)
    with torch.no_grad():
        first.weight[idle] *= 50

    def loss(net: nn.Module) -> Tensor:
        x: Tensor = net.get_submodule("0")(SAMPLE)
        found: Tensor = x[:, 16:].square().mean() + 0 * net(SAMPLE).sum()
        return found

    kept = {}
    for name, given in (("l2", None), ("taylor", loss)):
        small, _ = prune(model, SAMPLE, ratio=0.5, importance=name, loss=given)  # type: ignore[arg-type]
        kept[name] = small.state_dict()["0.weight"]
    assert torch.equal(kept["l2"], first.weight[:16])
    assert torch.equal(kept["taylor"], first.weight[16:])


def test_what_is_ignored_keeps_its_width() -> None:
    """And the multiple and the largest share of a layer are kept."""
    model = seeded(Residual)
    _, report = prune(model, SAMPLE, ratio=0.6, ignored=("stem", "side"), multiple=4, most=0.5)
    assert (width(report, "stem"), width(report, "side"), width(report, "expand")) == (16, 24, 16)


class Fixed(nn.Module):
    """Has a width of its own in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x).view(len(x), 16, 8, 8)).mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Has heads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.MultiheadAttention(24, 4, batch_first=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)[..., :24]
        logits: Tensor = self.head(self.inner(x, x, x, need_weights=True)[0].mean(1))
        return logits


class Stopped(nn.Module):
    """Its first layer has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x).detach()).mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Fixed, "found in Fixed that it fails at 'first' with narrower layers"),
        (Attention, "found in Attention attention .* in 'inner'"),
        (Stopped, "found in Stopped no gradient from the output to 'first'"),
        (lambda: nn.Sequential(nn.ReLU()), "found in Sequential no layer with weights"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "none can"),
    ],
)
def test_models_that_cannot_be_followed_are_refused_by_name(make: Callable[[], nn.Module], match: str) -> None:
    """With the place; the original is as it was."""
    model = seeded(make)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=match):
        prune(model, SAMPLE, ratio=0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_a_model_cannot_follow_can_be_ignored() -> None:
    """The rest is pruned."""
    _, report = prune(seeded(Stopped), SAMPLE, ratio=0.5, ignored=("first",))
    assert (width(report, "first"), width(report, "second")) == (16, 8)


@pytest.mark.parametrize(("width", "gone", "found"), [(64, 3, 64), (64, 5, 56), (64, 60, 8), (12, 2, 8), (12, 9, 8)])
def test_widths_are_the_nearest_multiples(width: int, gone: int, found: int) -> None:
    """At a multiple of 8 and with at most 90 % gone; a layer of which nothing is to go keeps an odd width."""
    assert rounded_width(width, gone, Cut(0.5, 0.9, 8)) == found
    assert rounded_width(width, 0, Cut(0.5, 0.9, 8)) == width
    assert rounded_width(6, 5, Cut(0.5, 0.9, 8)) == 6
    assert rounded_width(40, 39, Cut(0.5, 0.5, 8)) == 24


def test_groups_keep_their_widths() -> None:
    """Of a grouped convolution and what goes into it; the rest is pruned."""
    layers = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 1, groups=4), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 4, 1)
    _, report = prune(nn.Sequential(*layers), SAMPLE, ratio=0.5)
    assert [one.after for one in report.layers] == [16, 32, 16, 4]


def test_arguments_out_of_range_are_refused() -> None:
    """Ratio, importance, loss, names, and trained ranges."""
    model = seeded(Residual)
    for ratio in (0.0, 1.0, 30, float("nan"), "0.5"):
        with pytest.raises(InputError, match=rf"ratio as a share of the channels.*found {ratio!r}"):
            prune(model, SAMPLE, ratio=ratio)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="most as a share of the channels"):
        prune(model, SAMPLE, ratio=0.5, most=1)
    with pytest.raises(InputError, match="multiple of 1 channel or more, found 0"):
        prune(model, SAMPLE, ratio=0.5, multiple=0)
    with pytest.raises(InputError, match="importance out of"):
        prune(model, SAMPLE, ratio=0.5, importance="l3")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a loss with importance 'taylor'"):
        prune(model, SAMPLE, ratio=0.5, importance="taylor")
    with pytest.raises(InputError, match="found 'neck'"):
        prune(model, SAMPLE, ratio=0.5, ignored=("neck",))
    hold_ranges(model, {"stem": (0, 1)})
    with pytest.raises(InputError, match="without trained ranges to prune it"):
        prune(model, SAMPLE, ratio=0.5)
