"""The teacher of a run: read from its checkpoint, and known again when the run is resumed."""

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from ...errors import InputError
from ..checkpoint import read_record
from ..model_folder import require_model_folder
from ..training.settings import ObjectiveSettings


def load_teacher(settings: ObjectiveSettings, classes: Sequence[str]) -> nn.Module:
    """Load the model that distillation learns from.

    Args:
        settings: Name its folder.
        classes: Of the data. The teacher's are the same ones in the same order, if its checkpoint names them.

    Raises:
        InputError: If no folder is named, or its classes are others.
        TrainingError: If it is no checkpoint, or damaged.
    """
    if settings.teacher is None:
        raise InputError(
            'expected objective.teacher with objective.name = "distillation", found none. Set it to the folder of a '
            "run or of its checkpoint."
        )
    # Loading models by name needs the converters, which a run on a model of one's own does not.
    from ..models import load_model

    path = require_model_folder(settings.teacher)
    known = read_record(path).notes.get("classes")
    if isinstance(known, list) and classes and known != list(classes):
        raise InputError(
            f"expected a teacher of the classes {', '.join(classes)}, in that order, found "
            f"{', '.join(map(str, known))} in {path}. Set data.classes to those, or choose another teacher."
        )
    return load_model(path, code=settings.teacher_code)


def teacher_identity(teacher: nn.Module) -> dict[str, str]:
    """Return what tells a teacher from others: a hash of its weights. A run is not resumed with another one."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in teacher.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {"weights": found.hexdigest()}
