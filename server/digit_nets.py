"""The demo's networks: a teacher and a student for frames of 8 x 8, how each is trained, and why they look as they do.

A network is stages of 3 x 3 convolutions, the average over positions, and a linear head. The student has one
convolution in a stage: its four stages end at 8 x 8, 4 x 4, 4 x 4 and 2 x 2 pixels, and their averages are a latent of
200. Widths, epochs and augmentation were chosen on validation samples of the source and on
`digits.target_development`; eight other students (separable convolutions, narrow ones with 1 x 1 expansions, a fifth
stage) came within a point of this one, with 20 samples of each class to adapt on.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from . import digits
from .distill import distill
from .splits import split_by_class
from .training import History, Progress, TrainingSettings, train_classifier

TEACHER = "digits-teacher-48-96-256"
STUDENT = "digits-student-24-48-64-64"
TEACHER_SETTINGS = TrainingSettings(epochs=10, learning_rate=3e-3)
STUDENT_SETTINGS = TrainingSettings(epochs=14, learning_rate=1e-2)


@dataclass(frozen=True)
class TrainedNet:
    """A trained network.

    Args:
        model: The network, in evaluation mode. Takes ``(n, 1, 8, 8) float32``, 0 to 1, returns logits ``(n, 10)``.
        history: How training went.
    """

    model: nn.Sequential
    history: History


@dataclass(frozen=True)
class SourceSplit:
    """The source, split for training.

    Args:
        training: 4,000 images of 28 x 28.
        validation: 1,000 images of 28 x 28, 100 of each class.
    """

    training: digits.Digits
    validation: digits.Digits


def split_source(source: digits.Digits) -> SourceSplit:
    """Split the source: a fixed fifth of each class is kept for validation."""
    first, second = split_by_class(source.labels, 0.2)
    return SourceSplit(
        digits.Digits(source.images[first], source.labels[first]),
        digits.Digits(source.images[second], source.labels[second]),
    )


def build_teacher(*, seed: int = 0) -> nn.Sequential:
    """Return an untrained teacher: 0.96 million parameters."""
    return _build([[(48, 1), (48, 1)], [(96, 2), (96, 1)], [(256, 2), (256, 1)]], seed)


def build_student(*, seed: int = 0) -> nn.Sequential:
    """Return an untrained student: 0.08 million parameters."""
    return _build([[(24, 1)], [(48, 2)], [(64, 1)], [(64, 2)]], seed)


def train_teacher(source: SourceSplit, *, seed: int = 0, progress: Progress | None = None) -> TrainedNet:
    """Train a teacher on the source.

    Args:
        source: The data.
        seed: Fixes the first weights and the training.
        progress: Called with steps done and steps in total.
    """
    model = build_teacher(seed=seed)
    history = _fit(partial(train_classifier, model), source, replace(TEACHER_SETTINGS, seed=seed), progress)
    return TrainedNet(model, history)


def distill_student(
    teacher: nn.Module, source: SourceSplit, *, seed: int = 0, progress: Progress | None = None
) -> TrainedNet:
    """Distil a teacher into a student on the source.

    Args:
        teacher: A trained teacher.
        source: The data.
        seed: Fixes the first weights and the training.
        progress: Called with steps done and steps in total.
    """
    model = build_student(seed=seed)
    history = _fit(partial(distill, teacher, model), source, replace(STUDENT_SETTINGS, seed=seed), progress)
    return TrainedNet(model, history)


def _fit(
    run: Callable[..., History], source: SourceSplit, settings: TrainingSettings, progress: Progress | None
) -> History:
    threads = torch.get_num_threads()
    # The same weights whatever the number of cores. And two threads wait for each other after every layer: where
    # another process wanted the second core, they took five to ten times as long.
    torch.set_num_threads(1)
    try:
        return run(
            *_to_tensors(source.training),
            settings=settings,
            augment=digits.augment_source,
            validation=_to_tensors(source.validation, shrunk=True),
            progress=progress,
        )
    finally:
        torch.set_num_threads(threads)


def _to_tensors(data: digits.Digits, *, shrunk: bool = False) -> tuple[Tensor, Tensor]:
    images = digits.shrink(data.images) if shrunk else data.images
    return digits.to_tensor(images), torch.from_numpy(data.labels)


def _build(stages: list[list[tuple[int, int]]], seed: int) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    width = 1
    # The first weights come from the global generator; the caller's state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, stage in enumerate(stages, 1):
            layers: list[nn.Module] = []
            for outputs, stride in stage:
                layers += [nn.Conv2d(width, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
                width = outputs
            parts[f"stage{number}"] = nn.Sequential(*layers)
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["flatten"] = nn.Flatten()
        parts["head"] = nn.Linear(width, len(digits.CLASSES))
    return nn.Sequential(parts)
