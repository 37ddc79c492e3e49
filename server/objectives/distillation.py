"""The distillation objective: a student learns what a teacher answers to the same samples, and what the labels say."""

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..compress.captured import captured
from ..compress.hints import Hinted, Hints
from ..distill import distillation_loss
from ..training.settings import ObjectiveSettings
from .supervised import logits_of


class Distillation(nn.Module):
    """The loss of a student against its teacher's answers.

    The teacher is no part of this module: it is neither trained nor sharded, and no checkpoint has it. It goes to the
    device with the student.

    Args:
        model: The student. Takes a batch and returns logits ``(b, k)``.
        teacher: The model that it learns from, which answers as the student does. A frozen copy is asked.
        classes: k.
        settings: Temperature, weights and hints.
        sample: ``(n, ...)`` for both, on the processor: tells whether they fit, and the widths of hinted features.

    Raises:
        InputError: If teacher and student do not answer alike, or a hint names no place.
    """

    projects = False

    def __init__(
        self, model: nn.Module, teacher: nn.Module, classes: int, settings: ObjectiveSettings, sample: Tensor
    ) -> None:
        super().__init__()
        self.model, self.classes = model, (classes,)
        self.temperature, self.hard_weight = settings.distil_temperature, settings.hard_weight
        # In a tuple, a module is none of this one's.
        self._teacher = (teacher.requires_grad_(False).eval(),)
        self._check_teacher(sample)
        hints = hints_of(settings)
        self._hinted = None if hints is None else (Hinted(model, teacher, hints, sample),)
        self._places = () if hints is None else hints.places[1]
        self.matches = None if self._hinted is None else self._hinted[0].matches

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Return the losses of the tasks ``(1,)``, or without labels the logits of each, as a tuple of one.

        Args:
            x: What both models take.
            y: ``(b,) int64``, -1 for unlabelled, or targets ``(b, k)``.
        """
        student = self.model if self._hinted is None or y is None else self._hinted[0]
        logits = logits_of(student(x), self.classes)
        if y is None:
            return logits
        with torch.no_grad(), captured(self._teacher[0], self._places) as features:
            taught = logits_of(self._teacher[0](x), self.classes)
        loss = distillation_loss(logits[0], taught[0], y, temperature=self.temperature, hard_weight=self.hard_weight)
        if self._hinted is not None:
            loss = loss + self._hinted[0].loss(features)
        # A view of one number would upset sharded modules.
        return torch.stack([loss])

    def _apply(self, fn: Any, recurse: bool = True) -> "Distillation":
        """Take the teacher along to another device or type."""
        self._teacher[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _check_teacher(self, sample: Tensor) -> None:
        try:
            with torch.no_grad():
                taught = self._teacher[0](sample)
        # Layers raise what they like about inputs that they do not take.
        except Exception as error:
            raise InputError(
                f"expected a teacher that takes samples of shape {tuple(sample.shape[1:])}, found "
                f"{type(error).__name__}: {error!s:.200}. Prepare the data as for the teacher."
            ) from error
        try:
            logits_of(taught, self.classes)
        except InputError as error:
            raise InputError(
                f"expected a teacher with {self.classes[0]} outputs, one per class of the data: {error}"
            ) from error


def hints_of(settings: ObjectiveSettings) -> Hints | None:
    """Return which features a student is shown, or None without any.

    Args:
        settings: Name places as ``student=teacher``, or one that both have.
    """
    if not settings.hints and settings.relations is None:
        return None
    return Hints(
        features=tuple(map(_pair, settings.hints)),
        feature_weight=settings.hint_weight,
        relations=None if settings.relations is None else _pair(settings.relations),
        distance_weight=settings.distance_weight,
        angle_weight=settings.angle_weight,
    )


def _pair(places: str) -> tuple[str, str]:
    student, equals, teacher = places.partition("=")
    return student.strip(), (teacher if equals else student).strip()
