"""The module that a run trains: a model with its objective."""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..training.settings import ADAPTATION, ObjectiveSettings
from .adaptation import Adapted, places_of
from .barlow_twins import BarlowTwins
from .distillation import Distillation
from .multi_task import MultiTask
from .projector import Projected, last_linear
from .simclr import SimCLR
from .supervised import Supervised

SELF_SUPERVISED = ("simclr", "barlow-twins")


class Objective(Protocol):
    """A module that returns the losses of a batch ``(tasks,)``, or without labels the logits of each task."""

    projects: bool

    def __call__(self, x: Tensor, y: Any = None) -> Any:
        """Return losses, or logits."""


def make_objective(
    model: nn.Module,
    settings: ObjectiveSettings,
    classes: tuple[int, ...],
    *,
    label_smoothing: float = 0.0,
    head: str = "auto",
    seed: int = 0,
    teacher: nn.Module | None = None,
    shape: tuple[int, ...] = (),
    sources: int = 1,
) -> nn.Module:
    """Put a model into the module that trains it.

    Args:
        model: Returns logits.
        settings: Which objective.
        classes: Classes of each task.
        label_smoothing: Of objectives with labels.
        head: Name of the head that objectives without labels set aside; auto takes the last linear layer.
        seed: Fixes the first weights of what is added to the model.
        teacher: Of the objective distillation. It stays as it is, a copy is asked.
        shape: Of one sample, for the objectives distillation and those that adapt.
        sources: Source domains, for objectives that adapt.

    Raises:
        InputError: If objective, tasks and model do not fit.
    """
    if settings.name in SELF_SUPERVISED:
        name = last_linear(model) if head == "auto" else head
        projected = Projected(model, name, settings.hidden, settings.projection, seed=seed)
        if settings.name == "simclr":
            return SimCLR(projected, settings.temperature)
        return BarlowTwins(projected, settings.redundancy)
    if settings.name == "multi-task":
        if len(classes) < 2:
            raise InputError(
                "expected two tasks or more for the objective multi-task, found one. Name their columns as "
                'data.labels, or set objective.name = "supervised".'
            )
        return MultiTask(model, classes, settings.combine, label_smoothing)
    if len(classes) > 1:
        raise InputError(
            f"expected one task for the objective {settings.name}, found {len(classes)}. Set objective.name = "
            f'"multi-task", or name one column as data.labels.'
        )
    if settings.name == "distillation":
        if teacher is None:
            raise InputError(
                "expected a teacher for the objective distillation, found none. Set objective.teacher to the folder of "
                "its checkpoint, such as RUN/model."
            )
        first = next(model.parameters())
        sample = torch.zeros(2, *shape, dtype=first.dtype, device=first.device)
        return Distillation(model, copy.deepcopy(teacher).to(first.device), classes[0], settings, sample)
    if settings.name in ADAPTATION:
        first = next(model.parameters())
        sample = torch.zeros(2, *shape, dtype=first.dtype, device=first.device)
        places = places_of(model, settings, head)
        return Adapted(
            model,
            classes[0],
            settings,
            places,
            sample,
            sources=sources,
            label_smoothing=label_smoothing,
            seed=seed,
        )
    return Supervised(model, classes[0], label_smoothing)
