"""Fisher information of a tail: the numbers are those of gradients taken one by one, and a device trains by them."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from acclimate.bundle import Bundle
from acclimate.converters import convert, tail_fisher
from acclimate.converters.tail_fisher import fisher_diagonals, folded_tail, logits_of
from acclimate.edge.runtime.runtime import load_backbone
from acclimate.edge.tail.rows import shipped_rows
from acclimate.edge.tail.stepper import Stepper
from acclimate.errors import InputError
from acclimate.tail_content import TailContent

from .training_parity import folded, randomise

pytestmark = pytest.mark.needs_torch
Float32 = NDArray[np.float32]
Tails = dict[str, tuple[nn.Module, tuple[int, ...], tuple[str, ...]]]
SOURCE = 60


class Attention(nn.Module):
    """Self-attention over four positions, and a head on their mean."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.mix, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mix(x, x, x, need_weights=False)[0].mean(1))
        return logits


def tails(k: int) -> Tails:
    """Return tails with random weights: the module, the shape of a map, and the names of its head."""
    torch.manual_seed(0)
    convolution = [nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return {
        "linear": (nn.Sequential(nn.Linear(6, k)).eval(), (6,), ("0.weight", "0.bias")),
        "convolution": (
            randomise(nn.Sequential(*convolution, nn.Linear(5, k))),
            (3, 6, 6),
            ("5.weight", "5.bias"),
        ),
        "attention": (Attention(k).eval(), (4, 8), ("head.weight", "head.bias")),
    }


def one_by_one(tail: nn.Module, maps: Float32) -> dict[str, NDArray[np.float64]]:
    """Return mean squares of the gradients of log p(c | x) over the samples and, by their probability, the classes."""
    tail = folded(tail).double()
    for parameter in tail.parameters():
        parameter.requires_grad_(True)
    total = {name: torch.zeros_like(parameter) for name, parameter in tail.named_parameters()}
    for row in torch.from_numpy(maps).double():
        logs = torch.log_softmax(tail(row[None])[0], 0)
        for c in range(len(logs)):
            found = torch.autograd.grad(logs[c], list(tail.parameters()), retain_graph=True)
            for name, gradient in zip(total, found, strict=True):
                total[name] += logs[c].exp().detach() * gradient**2
    return {name: (values / len(maps)).detach().numpy() for name, values in total.items()}


def measured(
    tail: nn.Module, head: tuple[str, ...], maps: Float32, *, batch: int = 7, samples: int | None = None, seed: int = 0
) -> Any:
    """Run what is tested on batches."""
    captured = folded_tail(tail, torch.from_numpy(maps[:4]), head)
    parameters = {name: captured.tensors[name].numpy() for name in captured.parameters}
    batches = (maps[i : i + batch] for i in range(0, len(maps), batch))
    n = len(maps) if samples is None else samples
    return fisher_diagonals(logits_of(captured), parameters, batches, len(parameters[head[0]]), n, seed)


def close(found: Float32, expected: NDArray[np.float64], share: float = 1e-4) -> None:
    """Compare within a share of the greatest number."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=share, atol=share * float(expected.max()))


@pytest.mark.parametrize("name", ["linear", "convolution", "attention"])
@pytest.mark.parametrize("at_once", [True, False])
def test_it_is_the_mean_of_squared_gradients_of_single_samples(
    name: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to a loop over samples and classes in double precision, also where samples are gone through one by one."""

    def no_rule(*_: Any) -> Any:
        raise RuntimeError("Batching rule not implemented")

    if not at_once:
        monkeypatch.setattr(tail_fisher, "vmap", no_rule)
    tail, shape, head = tails(4)[name]
    maps = np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32)
    found, expected = measured(tail, head, maps), one_by_one(tail, maps)
    assert found.keys() == expected.keys()
    for parameter, values in expected.items():
        close(found[parameter], values)


def test_a_linear_tail_has_a_closed_form() -> None:
    """`mean(p (1 - p) x^2)`, and no batch size enters."""
    tail, _, head = tails(4)["linear"]
    maps = np.random.default_rng(1).normal(size=(33, 6)).astype(np.float32)
    with torch.no_grad():
        p = torch.softmax(tail(torch.from_numpy(maps)), 1).double().numpy()
    for batch in (1, 8, 33):
        found = measured(tail, head, maps, batch=batch)
        close(found["0.weight"], (p * (1 - p)).T @ maps.astype(np.float64) ** 2 / len(maps))
        close(found["0.bias"], (p * (1 - p)).mean(0))


def test_the_memory_for_gradients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few numbers may be held, batches are taken apart: the result is the same."""
    tail, shape, head = tails(4)["convolution"]
    maps = np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32)
    expected = measured(tail, head, maps)
    seen: list[int] = []
    each = tail_fisher._each

    def watched(single: Any, parameters: Any, x: Tensor, directions: Tensor) -> Iterator[dict[str, Tensor]]:
        seen.append(len(x))
        return each(single, parameters, x, directions)

    size = sum(values.size for values in expected.values())
    monkeypatch.setattr(tail_fisher, "_HELD", 9 * size + 1)
    monkeypatch.setattr(tail_fisher, "_each", watched)
    for name, values in measured(tail, head, maps, batch=20).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-8)
    assert max(seen) == 9
    seen.clear()
    # Too few at once to be worth it.
    monkeypatch.setattr(tail_fisher, "_HELD", 7 * size)
    measured(tail, head, maps, batch=20)
    assert max(seen) == 1


def test_drawn_directions_give_it_in_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over all signs is the sum over all classes; where samples are many, a seed fixes the draw."""
    tail, shape, head = tails(4)["convolution"]
    maps = np.random.default_rng(1).normal(size=(12, *shape)).astype(np.float32)
    expected = one_by_one(tail, maps)

    def all_signs(n: int, k: int, *_: Any) -> Iterator[Tensor]:
        for signs in product((-1.0, 1.0), repeat=k):
            yield torch.tensor(signs).expand(n, k) / 2 ** (k / 2)

    # A third of a thousand: three directions for four classes.
    drawn = [measured(tail, head, maps, samples=333, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0][head[0]], drawn[1][head[0]])
    assert (drawn[0][head[0]] != drawn[2][head[0]]).any()
    # Of the sum over all parameters each draw is not far.
    whole = sum(float(values.sum()) for values in expected.values())
    assert 0.5 * whole < sum(float(values.sum()) for values in drawn[0].values()) < 2 * whole
    monkeypatch.setattr(tail_fisher, "_directions", all_signs)
    for name, values in measured(tail, head, maps).items():
        close(values, expected[name])


@pytest.fixture(scope="module")
def shipped(digit_net: nn.Module, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[TailContent, Float32]:
    """Convert the digit network for EWC; return its tail, and the source's maps as a device stores them."""
    path = tmp_path_factory.mktemp("ewc") / "digits.acc"
    source = (digits.frames[:SOURCE], digits.labels[:SOURCE])
    options: dict[str, Any] = {"cut": "blocks.2", "optimiser": "sgd", "penalty": "ewc", "quantize": False}
    convert(
        digit_net,
        digits.frames[:64],
        out=path,
        source=source,
        mean=0.5,
        std=0.5,
        runtimes=("onnx",),
        **options,
    )
    with Bundle(path) as bundle:
        bundle.verify()
        tail, backbone, manifest = bundle.tail("onnx"), bundle.backbone("onnx"), bundle.manifest
    assert tail is not None
    embedder = load_backbone(backbone, "onnx", manifest.input, manifest.width, 1, (24, 4, 4))
    maps = embedder.embed_with_maps(source[0])[1]
    return tail, tail.code.decode(tail.code.encode(maps))


def written_out(tail: TailContent) -> nn.Module:
    """Return the tail of the digit network with the shipped weights."""
    module = nn.Sequential()
    module.add_module("last", nn.Conv2d(24, 64, 1))
    for name, layer in {"act": nn.ReLU6(), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}.items():
        module.add_module(name, layer)
    module.add_module("fc", nn.Linear(64, 10))
    module.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in tail.parameters.items()})
    return module


def test_what_is_shipped_is_that_of_the_source(shipped: tuple[TailContent, Float32]) -> None:
    """Equal to gradients of single samples, through the network written out, on the source's stored maps."""
    tail, maps = shipped
    assert tail.spec.penalty == "ewc"
    assert tail.fisher is not None
    module = written_out(tail).double()
    total = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
    for row in torch.from_numpy(maps).double():
        logs = torch.log_softmax(module(row[None])[0], 0)
        for c in range(10):
            gradients = torch.autograd.grad(logs[c], list(module.parameters()), retain_graph=True)
            for name, gradient in zip(total, gradients, strict=True):
                total[name] += logs[c].exp().detach() * gradient**2
    for name, values in total.items():
        close(tail.fisher[name], (values / len(maps)).numpy(), 1e-3)


def test_a_device_trains_by_it(shipped: tuple[TailContent, Float32]) -> None:
    """Steps with the shipped information are those of EWC in torch; what the source says much of moves less."""
    tail, maps = shipped
    ids = np.arange(10)
    _, fisher = shipped_rows(tail, ids, ids)
    assert sum(v.sum() for v in fisher.values()) / sum(v.size for v in fisher.values()) == pytest.approx(1, rel=1e-3)
    # Another place: the classes are called otherwise.
    y = np.random.default_rng(0).integers(0, 10, 32)
    rate, strength = 0.05, 0.3

    def trained(strength: float) -> dict[str, Float32]:
        stepper = Stepper(tail, 10, 32, 1)
        stepper.begin(tail.parameters, fisher)
        stepper.map[...], stepper.target[...] = maps[:32], np.eye(10, dtype=np.float32)[y]
        for _ in range(20):
            stepper.step(rate, strength)
        return {name: values.copy() for name, values in stepper.parameters.items()}

    module = written_out(tail)
    optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for _ in range(20):
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(torch.from_numpy(maps[:32])), torch.from_numpy(y))
        for name, parameter in module.named_parameters():
            away = (parameter - start[name]) ** 2
            loss = loss + strength / 2 * (torch.from_numpy(fisher[name]) * away).sum()
        torch.autograd.backward(loss)
        optimiser.step()
    held, free = trained(strength), trained(0.0)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(held[name], parameter.detach().numpy(), rtol=1e-3, atol=1e-4)
    name = "last.weight"
    much = fisher[name] >= np.quantile(fisher[name], 0.9)
    moved = [np.abs(found[name] - tail.parameters[name]) for found in (held, free)]
    assert (moved[0][much].mean() / moved[1][much].mean()) < (moved[0][~much].mean() / moved[1][~much].mean())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"penalty": "ewc"}, "expected source data for penalty='ewc'"),
        ({"penalty": "ewc", "source": "given", "head": None}, "expected a shipped head for penalty='ewc'"),
        ({"penalty": "l2"}, "expected penalty as one of"),
        ({"optimiser": "lion"}, "expected optimiser as one of"),
        ({"cut": None, "optimiser": "adam"}, "expected `optimiser` beside a tail"),
        ({"cut": None, "penalty": "none"}, "expected `penalty` beside a tail"),
    ],
)
def test_what_cannot_be_is_refused(
    digit_net: nn.Module, digits: Any, tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    """Before any work, in words."""
    source = {"source": (digits.frames[:40], digits.labels[:40])} if "source" in options else {}
    with pytest.raises(InputError, match=match):
        convert(digit_net, digits.frames[:64], out=tmp_path / "a.acc", **{"cut": "blocks.2", **options, **source})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("optimiser", "penalty"), [("adam", "none"), ("adam", "ewc")])
def test_every_way_of_training_travels(
    digit_net: nn.Module, digits: Any, tmp_path: Path, optimiser: Any, penalty: Any
) -> None:
    """A bundle says how its tail trains, and a device can take the step; without EWC no information travels."""
    source = (digits.frames[:40], digits.labels[:40])
    options: dict[str, Any] = {"cut": "blocks.2", "runtimes": ("onnx",), "quantize": False, "mean": 0.5, "std": 0.5}
    out = tmp_path / "a.acc"
    convert(digit_net, digits.frames[:64], out=out, source=source, optimiser=optimiser, penalty=penalty, **options)
    with Bundle(out) as bundle:
        tail = bundle.tail("onnx")
    assert tail is not None
    assert (tail.spec.optimiser, tail.spec.penalty) == (optimiser, penalty)
    assert (tail.fisher is None) == (penalty != "ewc")
    stepper = Stepper(tail, 10, 4, 1)
    stepper.begin(tail.parameters, tail.fisher)
    stepper.target[:, 0] = 1
    losses = [stepper.step(1e-3, 0.02) for _ in range(5)]
    assert losses[-1] < losses[0]
