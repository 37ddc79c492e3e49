"""The training loop: seeded, AdamW, one cycle of the learning rate, stopped by the first number that is not finite."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError, TrainingError

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
BatchLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. The same settings, data, first weights and number of threads give the same weights, bit for bit.

    Args:
        epochs: Passes over the data.
        batch_size: Samples in one step. Where there are more samples, a last smaller batch is left out of an epoch.
        learning_rate: Peak of the cycle: it rises during the first 30 % of the steps and falls along a cosine.
        weight_decay: Decoupled decay of matrices and kernels; biases and normalisation have none.
        label_smoothing: Share of the target distribution that is spread evenly over the classes, 0 to 1.
        gradient_norm: Gradients longer than this are shortened to it.
        seed: Fixes the order of samples, the augmentation and dropout.

    References:
        AdamW: Loshchilov and Hutter 2019, "Decoupled weight decay regularization". One cycle: Smith and Topin 2018,
        "Super-convergence". Label smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture".
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    gradient_norm: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise InputError(f"expected epochs and batch_size of 1 or more, found {self.epochs} and {self.batch_size}.")
        if not (0 < self.learning_rate < math.inf and self.gradient_norm > 0):
            raise InputError(
                f"expected learning_rate and gradient_norm above 0, "
                f"found {self.learning_rate} and {self.gradient_norm}."
            )
        if not (0 <= self.weight_decay < math.inf and 0 <= self.label_smoothing < 1):
            raise InputError(
                f"expected weight_decay of 0 or more and label_smoothing from 0 to below 1, "
                f"found {self.weight_decay} and {self.label_smoothing}."
            )


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data gave.

    Args:
        loss: Mean training loss of its steps.
        accuracy: Share of the validation samples that were right after it, 0 to 1; None without validation samples.
    """

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class History:
    """What a training run gave.

    Args:
        epochs: One entry per pass over the data.
        steps: Steps taken.
    """

    epochs: tuple[Epoch, ...]
    steps: int


def train_classifier(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    settings: TrainingSettings | None = None,
    loss: BatchLoss | None = None,
    augment: Augment | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a classifier in place; it is in evaluation mode afterwards.

    Args:
        model: Takes ``(b, ...) float32`` and returns logits ``(b, k) float32``. Training runs on the device of its
            parameters.
        inputs: ``(n, ...) float32``, as the augmentation takes them, or the model where there is none.
        labels: ``(n,) int64``, 0 to k - 1.
        settings: How to train; the defaults of `TrainingSettings` where None.
        loss: Called with logits ``(b, k)``, the augmented inputs and labels ``(b,)``, returns a scalar. Cross-entropy
            with label smoothing where None.
        augment: Called with a batch on the CPU and a seeded generator, returns what the model takes.
        validation: Inputs, as the model takes them, and labels; scored after each epoch.
        progress: Called with steps done and steps in total.

    Returns:
        Loss and validation accuracy of each epoch.

    Raises:
        InputError: If inputs and labels do not fit each other or the model.
        TrainingError: If the loss or a gradient is not finite. The parameters are then those before that step.
    """
    settings = settings or TrainingSettings()
    loss = loss or _SmoothedCrossEntropy(settings.label_smoothing)
    _check_samples(inputs, labels)
    device = next(model.parameters()).device
    batch_size = min(settings.batch_size, len(inputs))
    steps_per_epoch = len(inputs) // batch_size
    total = steps_per_epoch * settings.epochs
    optimizer = torch.optim.AdamW(_decay_groups(model, settings.weight_decay), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, OneCycle(total))
    generator = torch.Generator().manual_seed(settings.seed)
    epochs: list[Epoch] = []
    done = 0
    # Dropout draws from the global generator; the caller's is put back afterwards.
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(settings.seed)
        for number in range(settings.epochs):
            model.train()
            losses: list[float] = []
            order = torch.randperm(len(inputs), generator=generator)[: steps_per_epoch * batch_size]
            for rows in order.view(steps_per_epoch, batch_size):
                x = inputs[rows] if augment is None else augment(inputs[rows], generator)
                x, y = x.to(device), labels[rows].to(device)
                logits = model(x)
                if number == 0 and not losses:
                    _check_logits(logits, labels, len(rows))
                value = loss(logits, x, y)
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                norm = nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
                losses.append(float(value.detach()))
                if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                    raise TrainingError(
                        f"expected a finite loss and gradient, found loss {losses[-1]} and gradient norm {float(norm)} "
                        f"in epoch {number + 1}, batch {len(losses)} (rows {rows[:4].tolist()}, ...). The parameters "
                        f"are those before this batch. Lower the learning rate of {settings.learning_rate}, or check "
                        f"these rows."
                    )
                optimizer.step()
                schedule.step()
                done += 1
                if progress is not None:
                    progress(done, total)
            accuracy = None if validation is None else score(model, *validation)
            epochs.append(Epoch(sum(losses) / len(losses), accuracy))
    model.eval()
    return History(tuple(epochs), done)


def predict_logits(model: nn.Module, inputs: Tensor, *, batch_size: int = 512) -> Tensor:
    """Run a classifier in evaluation mode; the mode it was in is put back.

    Args:
        model: Takes ``(b, ...) float32`` and returns logits ``(b, k) float32``.
        inputs: ``(n, ...) float32``, one sample or more.
        batch_size: Samples in one run.

    Returns:
        Logits ``(n, k) float32`` on the CPU.

    Raises:
        InputError: If there is no sample.
    """
    if len(inputs) == 0:
        raise InputError("expected one sample or more, found none.")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([model(x.to(device)).cpu() for x in torch.split(inputs, batch_size)])
    finally:
        model.train(was_training)


def score(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of ``inputs (n, ...) float32`` whose largest logit is that of ``labels (n,) int64``, 0 to 1."""
    return float((predict_logits(model, inputs).argmax(1) == labels).double().mean())


@dataclass(frozen=True)
class OneCycle:
    """The learning rate as a share of its peak: a cosine up from 1/25 over 30 % of the steps, a cosine down to 0.

    Args:
        steps: Steps in total.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Return the share, 0 to 1, at a step counted from 0."""
        rise = 0.3 * self.steps
        if step < rise:
            return 1 - 0.96 * (1 + math.cos(math.pi * step / rise)) / 2
        return (1 + math.cos(math.pi * (step - rise) / (self.steps - rise))) / 2


@dataclass(frozen=True)
class _SmoothedCrossEntropy:
    smoothing: float

    def __call__(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _check_samples(inputs: Tensor, labels: Tensor) -> None:
    if len(inputs) == 0 or labels.shape != inputs.shape[:1]:
        raise InputError(
            f"expected inputs (n, ...) with labels (n,), n of 1 or more, found {tuple(inputs.shape)} with "
            f"{tuple(labels.shape)}. Give one label per input."
        )
    if not inputs.is_floating_point() or labels.dtype != torch.int64:
        raise InputError(f"expected float inputs and int64 labels, found {inputs.dtype} and {labels.dtype}.")
    if not bool(torch.isfinite(inputs).all()):
        row = int((~torch.isfinite(inputs)).flatten(1).any(1).nonzero()[0])
        raise InputError(f"expected finite inputs, found NaN or infinity, first in row {row}. Take those rows out.")


def _check_logits(logits: Tensor, labels: Tensor, rows: int) -> None:
    if logits.dim() != 2 or len(logits) != rows:
        raise InputError(f"expected the model to return logits ({rows}, k), found {tuple(logits.shape)}.")
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise InputError(
            f"expected labels from 0 to {logits.shape[1] - 1}, as the model has {logits.shape[1]} outputs, "
            f"found {int(labels.min())} to {int(labels.max())}."
        )
