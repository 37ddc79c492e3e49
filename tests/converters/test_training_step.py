"""The compiled step as a whole: optimisers, penalties, weights, frozen tensors, any batch, many steps."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acclimate.converters.training import CompiledTail, Spec, compile_training
from acclimate.converters.training.check import distance
from acclimate.errors import InputError

from .training_parity import Steps, folded, randomise

Float32 = NDArray[np.float32]
K = 4


@pytest.fixture(scope="module")
def tail() -> nn.Module:
    """An inverted residual block, a 3 x 3 convolution and a head."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(6, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6()]
    layers += [nn.Conv2d(24, 24, 3, 2, 1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6()]
    layers += [nn.Conv2d(24, 12, 3, padding=1), nn.BatchNorm2d(12), nn.Hardswish()]
    return randomise(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, K)))


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """A batch at the cut."""
    return torch.randn(16, 6, 7, 7, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def sgd(tail: nn.Module, maps: Tensor) -> CompiledTail:
    """The tail, compiled with momentum and L2-SP."""
    return compile_training(tail, maps)


@pytest.fixture(scope="module")
def adam(tail: nn.Module, maps: Tensor) -> CompiledTail:
    """The last convolution and the head, compiled with Adam and EWC."""
    return compile_training(tail, maps, train=["6.*", "11.weight"], optimiser="adam", penalty="ewc")


def _batch(seed: int, n: int = 16) -> tuple[Float32, Float32, Float32]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    maps = rng.normal(size=(n, 6, 7, 7)).astype(np.float32) + 0.3 * y[:, None, None, None].astype(np.float32)
    return maps, np.eye(K, dtype=np.float32)[y], rng.uniform(0.2, 2, n).astype(np.float32)


class Reference:
    """The same steps in PyTorch, written down anew."""

    def __init__(self, tail: nn.Module, compiled: CompiledTail, optimiser: str, **options: float) -> None:
        self.module = folded(tail)
        self.trained = {n: p for n, p in self.module.named_parameters() if n in compiled.initial}
        assert list(self.trained) == [p.name for p in compiled.spec.parameters]
        self.shipped = {n: p.detach().clone() for n, p in self.trained.items()}
        self.module.requires_grad_(False)
        for p in self.trained.values():
            p.requires_grad_(True)
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.AdamW}[optimiser]
        self.optimiser = kind(list(self.trained.values()), **options)

    def step(
        self, maps: Float32, target: Float32, weight: Float32, strength: float, fisher: dict[str, Float32] | None = None
    ) -> float:
        self.optimiser.zero_grad()
        share = torch.from_numpy(weight)
        logits = self.module(torch.from_numpy(maps))
        each = nn.functional.cross_entropy(logits, torch.from_numpy(target), reduction="none")
        loss = (each * share).sum() / share.sum()
        for name, p in self.trained.items():
            importance = torch.from_numpy(fisher[name]) if fisher else 1.0
            loss = loss + strength / 2 * (importance * (p - self.shipped[name]) ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())


def test_hundred_steps(tail: nn.Module, sgd: CompiledTail) -> None:
    """After 100 steps the losses were PyTorch's all the way, to 1e-4, and so are the weights and the logits."""
    steps, reference = Steps(sgd), Reference(tail, sgd, "sgd", lr=0.05, momentum=0.9)
    scalars = {"learning_rate": 0.05, "momentum": 0.9, "strength": 0.01}
    batches = [_batch(seed) for seed in range(5)]
    found = [steps.step(*batches[i % 5], scalars) for i in range(100)]
    expected = [reference.step(*batches[i % 5], 0.01) for i in range(100)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[-1] < 0.8 * found[0]
    with torch.no_grad():
        logits = reference.module(torch.from_numpy(batches[0][0])).numpy()
    np.testing.assert_allclose(steps.logits(batches[0][0]), logits, rtol=1e-3, atol=1e-3)


def test_adam_and_ewc(tail: nn.Module, adam: CompiledTail) -> None:
    """Adam with decoupled weight decay and an elastic penalty does what PyTorch's AdamW does; what is frozen stays."""
    rng = np.random.default_rng(0)
    fisher = {n: rng.uniform(0, 3, v.shape).astype(np.float32) for n, v in adam.initial.items()}
    steps = Steps(adam, fisher)
    reference = Reference(tail, adam, "adam", lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)  # type: ignore[arg-type]
    scalars = {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "strength": 0.5}
    found = [steps.step(*_batch(i), {**scalars, "step": i + 1}) for i in range(20)]
    expected = [reference.step(*_batch(i), 0.5, fisher) for i in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for name, p in reference.trained.items():
        np.testing.assert_allclose(steps.values[f"parameter/{name}"], p.detach().numpy(), rtol=2e-3, atol=2e-4)


def test_only_what_trains_is_an_input(adam: CompiledTail) -> None:
    """Frozen tensors are constants of the graph; inputs and outputs are those of the spec, in its order."""
    assert [p.name for p in adam.spec.parameters] == ["6.weight", "6.bias", "11.weight"]
    step, forward = (onnx.load_from_string(model).graph for model in (adam.step, adam.forward))
    assert tuple(value.name for value in step.input) == adam.spec.step_inputs
    assert tuple(value.name for value in step.output) == adam.spec.step_outputs
    assert tuple(value.name for value in forward.input) == adam.spec.forward_inputs
    assert not {value.name for value in step.input} & {value.name for value in step.initializer}
    assert {node.domain for node in [*step.node, *forward.node]} == {""}


def test_spec_round_trip(sgd: CompiledTail) -> None:
    """The JSON of a spec is stable and gives the same spec."""
    text = sgd.spec.to_json()
    assert Spec.from_json(text) == sgd.spec
    assert Spec.from_json(text).to_json() == text
    assert json.loads(text)["parameters"][0] == {"name": "0.weight", "shape": [24, 6, 1, 1]}


@pytest.mark.parametrize("n", [1, 3, 50])
def test_any_batch(tail: nn.Module, sgd: CompiledTail, n: int) -> None:
    """One pair of models takes every batch size."""
    steps, reference = Steps(sgd), Reference(tail, sgd, "sgd", lr=0.1, momentum=0.9)
    scalars = {"learning_rate": 0.1, "momentum": 0.9, "strength": 0.0}
    assert steps.step(*_batch(9, n), scalars) == pytest.approx(reference.step(*_batch(9, n), 0.0), rel=1e-5)
    assert steps.logits(_batch(9, n)[0]).shape == (n, K)
    for name, p in reference.trained.items():
        np.testing.assert_allclose(steps.values[f"parameter/{name}"], p.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_weight_zero_is_absent(sgd: CompiledTail) -> None:
    """Rows of weight 0 fill up a batch without a trace, and a batch of nothing else moves nothing."""
    scalars = {"learning_rate": 0.1, "momentum": 0.9, "strength": 0.0}
    maps, target, weight = _batch(3, 5)
    alone, filled, empty = Steps(sgd), Steps(sgd), Steps(sgd)
    more = _batch(4, 8)
    nothing = np.zeros(8, np.float32)
    longer = np.concatenate([maps, more[0]]), np.concatenate([target, more[1]]), np.concatenate([weight, nothing])
    assert filled.step(*longer, scalars) == pytest.approx(alone.step(maps, target, weight, scalars), rel=1e-5)
    for name in sgd.initial:
        key = f"parameter/{name}"
        np.testing.assert_allclose(filled.values[key], alone.values[key], rtol=1e-4, atol=1e-6)
    assert empty.step(*more[:2], nothing, scalars) == 0
    assert all(np.array_equal(empty.values[f"parameter/{n}"], v) for n, v in sgd.initial.items())


def test_class_weights(tail: nn.Module, sgd: CompiledTail) -> None:
    """Class weights given as sample weights are PyTorch's class weights."""
    maps, target, _ = _batch(5)
    by_class = torch.tensor([1.0, 0.2, 3.0, 0.5])
    y = torch.from_numpy(target).argmax(1)
    module = folded(tail)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(module(torch.from_numpy(maps)), y, weight=by_class)
    found = Steps(sgd).step(maps, target, by_class[y].numpy(), {"learning_rate": 0.0, "momentum": 0.0, "strength": 7.0})
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_same_twice(tail: nn.Module, maps: Tensor, sgd: CompiledTail) -> None:
    """Compiling is deterministic, and leaves the tail as it was."""
    before = {name: value.clone() for name, value in tail.state_dict().items()}
    again = compile_training(tail, maps)
    assert again.step == sgd.step
    assert again.forward == sgd.forward
    assert all(torch.equal(value, before[name]) for name, value in tail.state_dict().items())


@pytest.mark.parametrize("train", [["7.weight"], ["nothing"], []])
def test_unknown_parameter(tail: nn.Module, maps: Tensor, train: list[str]) -> None:
    """A name that fits no parameter is refused, and so is an empty choice."""
    with pytest.raises(InputError, match="expected"):
        compile_training(tail, maps, train=train)


def test_unknown_choice(tail: nn.Module, maps: Tensor) -> None:
    """An optimiser that there is none of is refused."""
    with pytest.raises(InputError, match="optimiser"):
        compile_training(tail, maps, optimiser="lion")  # type: ignore[arg-type]


def test_a_gradient_that_is_nothing_beside_the_greatest_is_not_held_to_its_own_size() -> None:
    """Rounding is in proportion to the greatest gradient: what is 0 but for it has no direction."""
    expected = np.array([[3e-9, -4e-9]])
    found = np.array([[2e-6, 1e-6]], np.float32)
    assert distance(found, expected) > 1
    assert distance(found, expected, floor=1e-2) < 1e-3
    # A real one is.
    assert distance(np.array([[0.9, 2.0]], np.float32), np.array([[1.0, 2.0]]), floor=1e-2) > 0.04
