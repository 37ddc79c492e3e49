"""What fine-tuning needs of where a model comes from."""

from dataclasses import dataclass, replace

from torch import nn

from ...errors import InputError
from ..checkpoint import read_record
from ..config.read import PretrainConfig
from ..data import Data, load_data
from ..data.load import kind_of
from ..data.target import target_settings
from ..model_folder import model_folder
from .penalty import Penalty


@dataclass(frozen=True, eq=False)
class Origin:
    """What fine-tuning needs of where a model comes from.

    Args:
        model: As it was before its last layer was replaced; None where that was not asked for, or is the same.
        data: Samples of the source.
        penalty: That was handed over.
    """

    model: nn.Module | None = None
    data: Data | None = None
    penalty: Penalty | None = None


def origin_of(settings: PretrainConfig, *, apart: bool, data: Data | None, penalty: Penalty | None) -> Origin:
    """Find what the settings of fine-tuning need of a model's origin.

    Args:
        settings: Of the run.
        apart: Whether the model was handed over, and is not what the settings name.
        data: Samples of the source that were handed over.
        penalty: That was handed over.

    Raises:
        InputError: If a penalty was handed over, and the settings name one, too, or EWC is to measure a model of
            several tasks.
    """
    transfer = settings.transfer
    if penalty is not None and transfer.penalty != "none":
        raise InputError(
            f'expected transfer.penalty = "none" with a penalty that is handed over, found {transfer.penalty!r}.'
        )
    if transfer.penalty == "none":
        return Origin(penalty=penalty)
    if transfer.penalty == "ewc" and not apart:
        _require_one_task(settings.model.name)
    if transfer.penalty == "ewc" and data is None and transfer.source_data is not None:
        # Labels, classes and what belongs to the data that is trained on are no business of the source's.
        # Columns by name, as of a target: the source may have others besides, and labels or not.
        own = target_settings(settings.data, kind_of(settings.data.train, settings.data))
        own = replace(own, train=transfer.source_data, validation=None, validation_share=0.0, augment=())
        own = replace(own, classes=(), target=None, target_validation=None)
        data = load_data(own, seed=settings.training.seed)
    if apart:
        return Origin(None, data)
    from ..models import first_model

    return Origin(first_model(settings.model), data)


def _require_one_task(name: str) -> None:
    """Refuse a checkpoint of several tasks: its logits side by side are not those of one distribution."""
    folder = model_folder(name)
    tasks = [] if folder is None else read_record(folder).notes.get("tasks")
    if isinstance(tasks, list) and len(tasks) > 1:
        raise InputError(
            f'expected a model of one task with transfer.penalty = "ewc", found {len(tasks)} in {name}. Choose l2-sp, '
            f"which measures nothing."
        )
