"""Distillation: a small student learns what a large teacher answers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .compress.captured import captured
from .compress.hints import Hinted, Hints
from .training import Augment, History, Progress, TrainingSettings, train_classifier


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    hard_weight: float = 0.1,
) -> Tensor:
    """Compare a student with its teacher and with the labels.

    The loss is ``(1 - w) T² KL(softmax(teacher / T) || softmax(student / T)) + w CE(student, labels)``; the factor T²
    keeps the size of the gradients independent of the temperature.

    Args:
        student_logits: ``(n, k) float32``.
        teacher_logits: ``(n, k) float32``; no gradient flows into them.
        labels: ``(n,) int64``, -1 for unlabelled, or targets ``(n, k) float32``.
        temperature: T, above 0. Larger values show more of what the teacher holds possible besides its answer.
        hard_weight: w, the share of the labels, 0 to 1.

    Returns:
        The mean over the samples, of the labels over those that have one, a scalar.

    References:
        Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network".
    """
    soft = functional.kl_div(
        functional.log_softmax(student_logits / temperature, 1),
        functional.log_softmax(teacher_logits.detach() / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    if labels.is_floating_point():
        hard = functional.cross_entropy(student_logits, labels)
    else:
        summed = functional.cross_entropy(student_logits, labels, ignore_index=-1, reduction="sum")
        # Of samples without a label only the teacher tells something.
        hard = summed / (labels >= 0).sum().clamp(min=1)
    return (1 - hard_weight) * temperature**2 * soft + hard_weight * hard


def distill(
    teacher: nn.Module,
    student: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    hard_weight: float = 0.1,
    hints: Hints | None = None,
    settings: TrainingSettings | None = None,
    augment: Augment | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a student in place to answer as its teacher does. Both see the same augmented samples.

    Args:
        teacher: The trained model, on the device of the student. Its weights and its mode stay as they are.
        student: The model that learns. Its outputs are those of the teacher.
        inputs: ``(n, ...) float32``.
        labels: ``(n,) int64``.
        temperature: See `distillation_loss`.
        hard_weight: See `distillation_loss`.
        hints: Features of the teacher that the student learns besides its answers; none where None.
        settings: How to train; its label smoothing is not used, since the teacher's answers are soft already.
        augment: See `train_classifier`.
        validation: See `train_classifier`.
        progress: Called with steps done and steps in total.

    Returns:
        Loss and validation accuracy of each epoch.

    Raises:
        InputError: If the models do not fit each other or the data.
        TrainingError: If the loss is not finite.

    References:
        Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent", for the shared
        augmentation.
    """
    if not (0 < temperature < math.inf and 0 <= hard_weight <= 1):
        raise InputError(
            f"expected a temperature above 0 and a hard_weight from 0 to 1, found {temperature} and {hard_weight}."
        )
    was_training = teacher.training
    teacher.eval()
    try:
        hinted = None if hints is None else Hinted(student, teacher, hints, _first(student, inputs, augment))
        return train_classifier(
            student if hinted is None else hinted,
            inputs,
            labels,
            settings=settings,
            loss=_TeacherLoss(teacher, temperature, hard_weight, hinted),
            augment=augment,
            validation=validation,
            progress=progress,
        )
    finally:
        teacher.train(was_training)


@dataclass(frozen=True)
class _TeacherLoss:
    teacher: nn.Module
    temperature: float
    hard_weight: float
    hinted: Hinted | None

    def __call__(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad(), captured(self.teacher, self.hinted.hints.places[1] if self.hinted else ()) as features:
            taught = self.teacher(inputs)
        if taught.shape != logits.shape:
            raise InputError(
                f"expected teacher and student with the same outputs, found {tuple(taught.shape)} and "
                f"{tuple(logits.shape)}. Give the student one output per output of the teacher."
            )
        loss = distillation_loss(logits, taught, labels, temperature=self.temperature, hard_weight=self.hard_weight)
        return loss if self.hinted is None else loss + self.hinted.loss(features)


def _first(student: nn.Module, inputs: Tensor, augment: Augment | None) -> Tensor:
    if len(inputs) == 0:
        raise InputError("expected one sample or more, found none.")
    few = inputs[:2] if augment is None else augment(inputs[:2], torch.Generator().manual_seed(0))
    return few.to(next(student.parameters()).device)
