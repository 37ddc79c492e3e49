"""The model that is compressed: it answers for the classes of the data already."""

from torch import nn

from ...errors import InputError
from ..checkpoint import read_record
from ..config.model import ModelSettings
from ..data.split import Data
from ..model_folder import model_folder


def original_of(settings: ModelSettings, data: Data) -> tuple[nn.Module, str]:
    """Build the model that is compressed, which candidates learn from and are compared with.

    Args:
        settings: Name it.
        data: What it is compressed on.

    Returns:
        The model, and the text from which it is built again.

    Raises:
        InputError: If there is none, or it answers for other classes than those of the data.
        TrainingError: If a checkpoint is damaged.
    """
    # Loading models by name needs this package itself.
    from ..model_ends import outputs_of
    from ..models import architecture_of, build_model

    folder = model_folder(settings.name)
    known = None if folder is None else read_record(folder).notes.get("classes")
    if isinstance(known, list) and known != list(data.classes):
        raise InputError(
            f"expected a model of the classes {', '.join(data.classes)}, in that order, found "
            f"{', '.join(map(str, known))} in {folder}. Set data.classes to those, or train the model on this data "
            f"first: acclimate pretrain with model.name = {settings.name!r}."
        )
    size = len(data.classes)
    # With the head that it has: a new one would have learnt nothing, and would be the teacher.
    model = build_model(settings, 0, data.shape)
    found = outputs_of(model, data.shape)
    if found != size:
        raise InputError(
            f"expected a model with {size} outputs, one per class of the data, found {found} of {settings.name!r}. "
            f"Train it on this data first: acclimate pretrain gives it a head of its own."
        )
    return model, architecture_of(settings, size, data.shape)
