"""A short loop on tensors in memory: seeded, AdamW, one cycle of the learning rate, stopped by what is not finite."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError, TrainingError
from .optimizer import make_optimizer
from .schedule import OneCycle
from .settings import TrainingSettings

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
BatchLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Progress: TypeAlias = Callable[[int, int], None]


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
        settings: How to train; the defaults of `TrainingSettings` where None. Its first seven fields count here.
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
    optimizer = make_optimizer(model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
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
class _SmoothedCrossEntropy:
    smoothing: float

    def __call__(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)


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
