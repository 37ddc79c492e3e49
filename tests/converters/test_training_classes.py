"""The class axis is free: one pair of models trains heads of any number of classes, as PyTorch does."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acclimate.converters.training import CompiledTail, compile_training
from acclimate.errors import ConversionError, InputError

from .training_parity import Steps

pytestmark = pytest.mark.needs_torch
Float32 = NDArray[np.float32]
K, CHANNELS = 5, 6
MAPS = torch.randn(12, CHANNELS, 5, 5, generator=torch.Generator().manual_seed(0))


class Tail(nn.Module):
    """A convolution, a pooled vector, a linear head, and what follows it."""

    def __init__(self, behind: Callable[[Tensor], Tensor], bias: bool = True, classes: int = K) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.Linear(8, classes, bias=bias)
        self.behind = behind

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.head(torch.relu(self.conv(x)).mean((2, 3))))


def plain(x: Tensor) -> Tensor:
    """Nothing follows."""
    return x


def through_map(x: Tensor) -> Tensor:
    """As a 1x1 convolution gives it, with one position."""
    return torch.flatten(x.reshape(-1, x.shape[1], 1, 1), 1)


def make(behind: Callable[[Tensor], Tensor] = plain, bias: bool = True) -> Tail:
    """Return an untrained tail."""
    torch.manual_seed(0)
    return Tail(behind, bias).eval()


@cache
def compiled_for(
    behind: Callable[[Tensor], Tensor] = plain, bias: bool = True, optimiser: str = "sgd", penalty: str = "none"
) -> CompiledTail:
    """Compile with a free number of classes."""
    tail = make(behind, bias)
    head = ("head.weight", None if tail.head.bias is None else "head.bias")
    return compile_training(tail, MAPS, optimiser=optimiser, penalty=penalty, head=head)  # type: ignore[arg-type]


def widened(tail: Tail, compiled: CompiledTail, k: int) -> tuple[Tail, CompiledTail]:
    """Return the tail with a head of k rows, and the same models with the same weights."""
    other = Tail(tail.behind, tail.head.bias is not None, k).eval()
    other.conv.load_state_dict(tail.conv.state_dict())
    rows = {name: p.detach().numpy().copy() for name, p in other.named_parameters() if name.startswith("head.")}
    return other, replace(compiled, initial={**compiled.initial, **rows})


@pytest.mark.parametrize("k", [2, K, 9])
@pytest.mark.parametrize(("behind", "bias"), [(plain, True), (plain, False), (through_map, True)])
def test_ten_steps(k: int, behind: Callable[[Tensor], Tensor], bias: bool) -> None:
    """Losses and logits are PyTorch's, for fewer, as many and more classes than were shipped."""
    tail = make(behind, bias)
    other, given = widened(tail, compiled_for(behind, bias), k)
    steps, optimiser = Steps(given), torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(k)
    target = np.eye(k, dtype=np.float32)[rng.integers(0, k, len(MAPS))]
    weight = rng.uniform(0.5, 2, len(MAPS)).astype(np.float32)
    found, expected = [], []
    for _ in range(10):
        found.append(steps.step(MAPS.numpy(), target, weight, {"learning_rate": 0.1, "momentum": 0.9}))
        optimiser.zero_grad()
        each = nn.functional.cross_entropy(other(MAPS), torch.from_numpy(target), reduction="none")
        loss = (each * torch.from_numpy(weight)).sum() / float(weight.sum())
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        expected.append(float(loss.detach()))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(steps.logits(MAPS.numpy()), other(MAPS).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("optimiser", "penalty"), [("sgd", "none"), ("sgd", "l2sp"), ("adam", "ewc")])
def test_the_models_say_so(optimiser: str, penalty: str) -> None:
    """Target, logits, and the head's parameters, state, references and results have the axis `k`, and no others do."""
    compiled = compiled_for(plain, True, optimiser, penalty)
    assert compiled.spec.head == ("head.weight", "head.bias")
    step, forward = (onnx.load_from_string(model).graph for model in (compiled.step, compiled.forward))
    for value in [*step.input, *step.output, *forward.input, *forward.output]:
        free = [i for i, dim in enumerate(value.type.tensor_type.shape.dim) if dim.dim_param == "k"]
        of_head = value.name.partition("/")[2] in compiled.spec.head
        assert free == ([0] if of_head else [1] if value.name in ("target", "logits") else [])


def test_without_a_head_the_number_stays() -> None:
    """As it was compiled for."""
    compiled = compile_training(make(), MAPS)
    assert compiled.spec.head == ()
    assert compiled.spec.classes == K
    (logits,) = onnx.load_from_string(compiled.forward).graph.output
    assert logits.type.tensor_type.shape.dim[1].dim_value == K


@pytest.mark.parametrize(
    "behind",
    [lambda x: x * torch.linspace(1, 2, K), lambda x: x + x.new_ones(2, K).sum(0)],
    ids=["a factor per class", "a shape of its own"],
)
def test_what_counts_on_the_number_is_refused(behind: Callable[[Tensor], Tensor]) -> None:
    """In words, and not by a model that fails on the device."""
    with pytest.raises(ConversionError, match="takes any number of classes, found"):
        compiled_for(behind)


def test_the_head_must_train() -> None:
    """Its rows are what the device adds to."""
    with pytest.raises(InputError, match="expected the head"):
        compile_training(make(), MAPS, train=["conv.*"], head=("head.weight", "head.bias"))
