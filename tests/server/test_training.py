"""The training loop: deterministic, refuses what cannot be trained on, and learns."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn

from acclimate.errors import InputError, TrainingError
from acclimate.server.training import OneCycle, TrainingSettings, predict_logits, train_classifier

pytestmark = pytest.mark.needs_torch


def make_net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def make_data(count: int = 150) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, 6, generator=generator)
    return centres[labels] * 2 + torch.randn(count, 6, generator=generator), labels


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    """Bit for bit, with augmentation and dropout, whatever the global generator holds, which stays as it was."""
    inputs, labels = make_data()
    results = []
    for seed, state in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        model = make_net()
        settings = TrainingSettings(epochs=3, batch_size=32, seed=seed)
        history = train_classifier(model, inputs, labels, settings=settings, augment=jitter)
        assert torch.equal(torch.get_rng_state(), before)
        results.append((history, torch.cat([value.flatten().double() for value in model.state_dict().values()])))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][1], results[2][1])


def test_training_learns_and_reports_every_step() -> None:
    """Separable classes are learnt, loss falls, progress counts every step, and the model ends in evaluation mode."""
    inputs, labels = make_data()
    model = make_net()
    seen: list[tuple[int, int]] = []
    history = train_classifier(
        model,
        inputs,
        labels,
        settings=TrainingSettings(epochs=12, batch_size=32, learning_rate=0.02),
        validation=(inputs, labels),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.epochs[-1].accuracy is not None
    assert history.epochs[-1].accuracy > 0.95
    assert seen == [(step, 48) for step in range(1, 49)]
    assert history.steps == 48
    assert not model.training


def test_first_step_is_that_of_adamw_on_the_smoothed_loss() -> None:
    """One step on one batch gives the weights of the update written out by hand, in float64."""
    inputs, labels = make_data(30)
    inputs = inputs.double()
    model = nn.Linear(6, 3).double()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    smooth = torch.nn.functional.one_hot(labels, 3).double() * 0.9 + 0.1 / 3
    error = (torch.softmax(inputs @ weight.T + bias, 1) - smooth) / len(inputs)
    settings = TrainingSettings(epochs=1, batch_size=30, learning_rate=0.1, weight_decay=0.5, gradient_norm=1e9)
    train_classifier(model, inputs, labels, settings=settings)
    rate = 0.1 * 0.04  # the cycle begins at 1/25 of its peak
    for now, was, gradient, decay in (
        (model.weight, weight, error.T @ inputs, 0.5),
        (model.bias, bias, error.sum(0), 0.0),
    ):
        # Adam's first step divides the gradient by its own size.
        expected = was * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(now.detach(), expected, rtol=1e-9, atol=1e-12)


def test_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    """The cycle starts at 1/25, peaks at 1 after 30 % of the steps and is monotone on both sides."""
    shares = [OneCycle(100)(step) for step in range(101)]
    assert shares[0] == pytest.approx(0.04)
    assert shares[30] == pytest.approx(1.0)
    assert shares[100] == pytest.approx(0.0, abs=1e-12)
    assert shares[:31] == sorted(shares[:31])
    assert shares[30:] == sorted(shares[30:], reverse=True)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_training_before_the_step(where: str) -> None:
    """The error names epoch and batch, and the parameters are those before that batch."""
    inputs, labels = make_data(64)
    model = make_net()
    calls = 0
    kept: list[Tensor] = []

    def loss(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        value = nn.functional.cross_entropy(logits, y)
        if calls < 3:
            return value
        kept.extend(parameter.detach().clone() for parameter in model.parameters())
        # The root of 0 is 0 and its slope is infinite: a finite loss with a gradient that is not.
        return value * math.nan if where == "loss" else value + (logits * 0).abs().sqrt().sum()

    with pytest.raises(TrainingError, match=r"finite loss and gradient.*epoch 2, batch 1.*learning rate"):
        train_classifier(model, inputs, labels, settings=TrainingSettings(epochs=4, batch_size=32), loss=loss)
    for now, before in zip(model.parameters(), kept, strict=True):
        assert torch.equal(now, before)
        assert bool(now.isfinite().all())


def _with_nan(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    inputs[7, 2] = math.nan
    return inputs, labels


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x[:0], y[:0]), "n of 1 or more, found"),
        (lambda x, y: (x, y[:-1]), "one label per input"),
        (lambda x, y: (x.to(torch.uint8), y), "float inputs and int64 labels"),
        (lambda x, y: (x, y.float()), "float inputs and int64 labels"),
        (lambda x, y: (x, y + 1), "labels from 0 to 2.*found 1 to 3"),
        (lambda x, y: (x, y - 1), "labels from 0 to 2.*found -1 to 1"),
        (_with_nan, "NaN or infinity, first in row 7"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(
    spoil: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], message: str
) -> None:
    """Each fault gets an error that says what was expected and what was found."""
    with pytest.raises(InputError, match=message):
        train_classifier(make_net(), *spoil(*make_data(30)))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"label_smoothing": 1.0},
        {"gradient_norm": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    """They fail where they are made, not in the middle of a run."""
    with pytest.raises(InputError, match="expected"):
        replace(TrainingSettings(), **change)  # type: ignore[arg-type]  # all are numbers


def test_fewer_samples_than_a_batch_are_one_batch() -> None:
    """A run on fewer samples than the batch size takes one step an epoch, on all of them."""
    inputs, labels = make_data(9)
    assert train_classifier(make_net(), inputs, labels, settings=TrainingSettings(epochs=2)).steps == 2


def test_prediction_in_batches_equals_one_run_and_keeps_the_mode() -> None:
    """Logits do not depend on the batch size, come in evaluation mode, and the mode is put back."""
    inputs, _ = make_data(50)
    model = make_net().train()
    logits = predict_logits(model, inputs, batch_size=7)
    assert model.training
    torch.testing.assert_close(logits, predict_logits(model, inputs))
    assert not logits.requires_grad
    with pytest.raises(InputError, match="found none"):
        predict_logits(model, inputs[:0])
