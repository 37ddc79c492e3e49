"""Quantization-aware training: the simulation computes what the runtime does, and training comes closer to float."""

import copy
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn

from acclimate import Bundle
from acclimate.errors import InputError, TrainingError
from acclimate.manifest import Runtime
from acclimate.server.compress import QuantizeAwareReport, held_ranges, hold_ranges, quantize_aware, simulate
from acclimate.server.compress.captured import captured
from acclimate.server.compress.simulation import Simulation

from .compress_nets import Net, frames, hard, net

pytestmark = pytest.mark.needs_torch
SHOWN, UNSEEN = frames(256, seed=1), frames(128, seed=2)
BATCHES = torch.split(SHOWN, 32)


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with a hard layer, before and after training."""

    original: Net
    model: nn.Module
    report: QuantizeAwareReport


@pytest.fixture(scope="module")
def trained() -> Trained:
    original = hard(net())
    model, report = quantize_aware(original, BATCHES, steps=120, learning_rate=2e-3, range_rate=2e-2)
    return Trained(original, model, report)


def features(model: nn.Module, x: Tensor, inside: nn.Module | None = None) -> NDArray[np.float32]:
    with torch.no_grad(), captured(inside or model, ["head:input"]) as found:
        model(x)
    return found["head:input"].numpy()


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean over samples of the cosine, centred on the second."""
    a, b = a - b.mean(0), b - b.mean(0)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def in_8_bits(model: nn.Module, folder: Path, runtime: Runtime = "onnx") -> NDArray[np.float32]:
    """Convert, calibrated on what training saw, and return the latents of unseen samples by the device's runtime."""
    pytest.importorskip("onnxruntime", reason="acclimate[convert] is not installed")
    from acclimate.converters import convert
    from acclimate.edge.runtime.runtime import load_backbone

    out = folder / "net.acc"
    report = convert(
        model,
        SHOWN.numpy(),
        out=out,
        head=None,
        taps="last",
        runtimes=(runtime,),
        quantize=True,
        float_convolutions=0,
        least_cosine=-1,
        axes=("channel", "height", "width"),
    )
    with Bundle(out) as bundle:
        embedder = load_backbone(bundle.backbone(runtime), runtime, bundle.manifest.input, report.width, 1)
        return np.concatenate([embedder.embed(UNSEEN[i : i + 16].numpy()) for i in range(0, len(UNSEEN), 16)])


def test_simulation_predicts_the_runtime(tmp_path: Path, trained: Trained) -> None:
    """And int8 after training is nearer to float than static int8, by the runtime and not by the simulation alone."""
    wanted = features(trained.original, UNSEEN)
    errors = []
    for name, model in (("static", trained.original), ("trained", trained.model)):
        (tmp_path / name).mkdir()
        found = in_8_bits(model, tmp_path / name)
        simulation = simulate(model, BATCHES)
        predicted = features(simulation, UNSEEN, simulation.model)
        assert cosine(predicted, found) > 0.999, name
        # Not only since both are close to float: what 8 bits change is predicted, biases in 32 bits included.
        off, made = np.square(predicted - found).mean(), np.square(found - features(model, UNSEEN)).mean()
        assert off < 0.003 * made, name
        errors.append(1 - cosine(found, wanted))
    assert errors[1] < errors[0] / 3


@pytest.mark.slow
def test_simulation_predicts_the_other_runtime(tmp_path: Path, trained: Trained) -> None:
    """LiteRT's levels are the same, and it keeps the ranges too."""
    pytest.importorskip("litert_torch", reason="acclimate[convert-tflite] is not installed")
    found = in_8_bits(trained.model, tmp_path, "tflite")
    simulation = simulate(trained.model, BATCHES)
    assert cosine(features(simulation, UNSEEN, simulation.model), found) > 0.999


def test_training_brings_the_features_closer(trained: Trained) -> None:
    """By its own measure, and that measure is what `simulate` gives for the model before and after."""
    report = trained.report
    assert report.improved
    assert report.after < 0.3 * report.before
    for model, stated in ((trained.original, report.before), (trained.model, report.after)):
        simulation, parts = simulate(model, BATCHES), []
        for x in BATCHES:
            wanted = features(trained.original, x)
            off = np.square(features(simulation, x, simulation.model) - wanted).mean()
            parts.append(off / np.square(wanted - wanted.mean(0)).mean())
        # What no module takes or returns, inside of the SiLU, has its range found anew.
        assert stated == pytest.approx(float(np.mean(parts)), rel=0.02)


def test_what_comes_back_is_the_same_network_in_float(trained: Trained) -> None:
    """Class, names and shapes of tensors; nothing is rounded, nothing more is trained, and the original stays."""
    model, original = trained.model, trained.original
    assert type(model) is Net
    assert {n: v.shape for n, v in model.state_dict().items()} == {n: v.shape for n, v in original.state_dict().items()}
    assert all(
        torch.equal(a, b)
        for a, b in zip(original.state_dict().values(), hard(net()).state_dict().values(), strict=True)
    )
    assert not model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model.state_dict()["head.weight"], original.head.weight)
    # Far finer than a level of 8 bits, it answers to the change of a single weight.
    other, x = copy.deepcopy(model), UNSEEN[:4]
    with torch.no_grad():
        other.state_dict()["stem.weight"].mul_(1 + 1e-5)
        assert not torch.equal(other(x), model(x))


def test_every_activation_has_a_place(trained: Trained) -> None:
    """By hand: behind each activation, norm or shortcut; not in front of one, and not at the input or the head."""
    assert trained.report.without_place == 0
    places = {"expand:input", "depth:input", "project:input", "norm2", "last:input", "last", "act"}
    assert set(trained.report.ranges) == places == set(held_ranges(trained.model))
    assert trained.report.ranges["depth:input"][1] <= 6
    assert trained.report.ranges["expand:input"][0] == 0


def test_a_range_stays_below_what_was_cut_off() -> None:
    """The runtime leaves a ReLU6 out where the range does its work: one that grew beyond 6 would not."""
    simulation = simulate(net(), BATCHES)
    with torch.no_grad():
        simulation.shares.fill_(10.0)
    ranges = simulation.trained_ranges()
    assert ranges["depth:input"] == (0, 6)
    assert ranges["project:input"][1] > 6


def test_folding_changes_nothing_and_scales_are_1() -> None:
    """Of norms with and without weights of their own, behind convolutions with and without bias."""
    original = hard(net())
    folded = simulate(original, BATCHES).model
    with torch.no_grad():
        assert float((folded(UNSEEN) - original(UNSEEN)).abs().max()) < 1e-5
    norms = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 4
    for norm in norms:
        assert norm.running_var is not None
        assert torch.allclose(norm.running_var + norm.eps, torch.ones(norm.num_features))
        assert norm.weight is None or bool((norm.weight == 1).all())


class Shared(nn.Module):
    """Calls one convolution twice, and one activation three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 1, 3, 1, 1), nn.BatchNorm2d(1), nn.ReLU(inplace=True)
        self.head = nn.Linear(144, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x)))
        x = self.act(self.conv(x)) + 1
        logits: Tensor = self.head(self.act(x).flatten(1))
        return logits


def test_what_is_called_several_times_is_left_as_it_is() -> None:
    """A norm behind a shared convolution is not folded; activations without a place are counted."""
    model = Shared().eval()
    assert model.norm.running_var is not None
    model.norm.running_var.fill_(4.0)
    simulation = simulate(model, BATCHES)
    assert torch.equal(simulation.model.get_submodule("conv").weight, model.conv.weight)  # type: ignore[arg-type]
    _, report = quantize_aware(model, BATCHES, steps=1)
    assert report.without_place == sum(not site.name for site in simulation.scheme.sites) > 0


def test_training_that_does_not_help_is_undone() -> None:
    """Steps that are far too large: the weights are those that were folded, the ranges those that were seen."""
    original = net()
    model, report = quantize_aware(original, BATCHES, steps=3, learning_rate=1.0, range_rate=1.0)
    assert not report.improved
    assert report.after == report.before
    folded = simulate(original, BATCHES)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), folded.model.state_dict().values(), strict=True)
    )
    assert report.ranges == folded.trained_ranges()


def test_the_same_twice_to_the_bit() -> None:
    """Same batches, same weights and ranges; progress tells every step."""
    told: list[tuple[int, int]] = []
    runs = [quantize_aware(net(), BATCHES, steps=12, progress=lambda *done: told.append(done)) for _ in range(2)]
    assert runs[0][1] == runs[1][1]
    for a, b in zip(*(model.state_dict().values() for model, _ in runs), strict=True):
        assert torch.equal(a, b)
    assert told == [(i, 12) for i in range(1, 13)] * 2


def test_ranges_come_and_go_with_a_model() -> None:
    """They can be read, put on another copy, and are no part of the weights; what passes stays as it is."""
    ranges = {"act": (-0.25, 3.0), "expand:input": (0.0, 2.0), "norm2": (-1.0, 1.0)}
    model, plain = net(), net()
    hold_ranges(model, ranges)
    assert held_ranges(model) == held_ranges(copy.deepcopy(model)) == ranges
    assert list(model.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(model(UNSEEN), plain(UNSEEN))
    hold_ranges(model, {"expand:input": (0.0, 4.0)})
    assert held_ranges(model)["expand:input"] == (0.0, 4.0)
    found = dict(zip((site.name for site in simulate(model, BATCHES).scheme.sites), _ends(model), strict=True))
    assert found["expand:input"] == (0.0, 4.0)
    assert found["act"] == (-0.25, 3.0)
    for place in ("neck", "act:output"):
        with pytest.raises(InputError, match="expected the name of a module"):
            hold_ranges(model, {place: (0, 1)})
    with pytest.raises(InputError, match=r"no nn\.Sequential"):
        hold_ranges(nn.Sequential(nn.Sequential()), {"0:input": (0, 1)})


def _ends(model: nn.Module) -> list[tuple[float, float]]:
    simulation: Simulation = simulate(model, BATCHES)
    return [(low, high) for low, high in simulation.ranges().tolist()]


class Turning(nn.Module):
    """Asks for shapes and turns tensors around between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.reshape(x.shape[0], 12, 12)).mT
        x = self.second(x.contiguous()[:, : x.shape[1]]).clamp(0, 1)
        logits: Tensor = self.head(x.mean(1))
        return logits


def test_shapes_and_views_are_no_operations() -> None:
    """They may be asked for in any number; what a view shows is rounded where it was made."""
    sites = simulate(Turning(), BATCHES).scheme.sites
    assert [(site.name, site.limit) for site in sites] == [("first:input", inf), ("first", inf), ("", 1)]
    assert quantize_aware(Turning(), BATCHES, steps=1)[1].without_place == 1


class Choosing(Net):
    """Goes another way with dark batches."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if float(x.detach().mean()) > 0.1 else torch.tanh(logits)


class Attention(nn.Module):
    """Computes in one function what consists of many."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.MultiheadAttention(12, 2, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.inner(x[:, 0], x[:, 0], x[:, 0])[0].mean(1))
        return logits


def test_models_that_cannot_be_simulated_are_refused() -> None:
    """By what they do; and such as hold ranges already, or have nothing to quantize."""
    with pytest.raises(InputError, match="does the same with every batch"):
        quantize_aware(Choosing().eval(), [SHOWN[:32], 0 * SHOWN[:32]], steps=2)
    with pytest.raises(InputError, match="'multi_head_attention_forward' in 'inner'"):
        quantize_aware(Attention().train(), BATCHES)
    with pytest.raises(InputError, match="found none to quantize"):
        quantize_aware(nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), BATCHES)
    with pytest.raises(InputError, match="'neck' as the head"):
        quantize_aware(net(), BATCHES, head="neck")
    held = net()
    hold_ranges(held, {"act": (0, 1)})
    with pytest.raises(InputError, match="without trained ranges to train it"):
        quantize_aware(held, BATCHES)


def test_bad_batches_and_rates_are_refused() -> None:
    """No batch, an iterator that ends, labels beside the samples, NaN; a loss that is not finite stops training."""
    with pytest.raises(InputError, match="one batch of samples or more, found none"):
        quantize_aware(net(), [])
    with pytest.raises(InputError, match="Leave out the labels"):
        quantize_aware(net(), [(SHOWN, SHOWN)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="gone through again"):
        quantize_aware(net(), iter(BATCHES), steps=20)
    with pytest.raises(InputError, match="found NaN or infinity"):
        quantize_aware(net(), [SHOWN * torch.nan])
    for steps in (-1, 2.5):
        with pytest.raises(InputError, match=rf"whole number of steps, 0 or more, found {steps}"):
            quantize_aware(net(), BATCHES, steps=steps)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learning_rate and range_rate above 0"):
        quantize_aware(net(), BATCHES, learning_rate=0)
    with pytest.raises(TrainingError, match="in step 9"):
        quantize_aware(net(), [*BATCHES, SHOWN[:8] * torch.nan], steps=20)
