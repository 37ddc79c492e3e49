"""The training samples of a run, as its objective and its sampling need them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, IterableDataset

from ...errors import InputError
from ..config.read import PretrainConfig
from ..data.split import Data, Split
from ..objectives.make import SELF_SUPERVISED
from .batches import Batch, Batches, read_batch, step_size
from .settings import ADAPTATION

if TYPE_CHECKING:
    from accelerate import Accelerator


def require_classes(objective: str, data: Data) -> None:
    """Refuse data without labels where an objective needs them; before a model is built for its classes.

    Args:
        objective: Its name.
        data: What is trained on.

    Raises:
        InputError: If it has no class.
    """
    if data.classes or objective in SELF_SUPERVISED:
        return
    advice = (
        "Set data.classes to those of the teacher, and label some samples"
        if objective == "distillation"
        else 'Label them (data.labels), or train with objective.name = "simclr"'
    )
    raise InputError(f"expected labelled samples to train on, found none: {data.source}. {advice}.")


def training_batches(
    split: Split, settings: PretrainConfig, engine: "Accelerator"
) -> tuple[Batches, Callable[[Any], str]]:
    """Return the batches of one process, and what names their samples.

    Args:
        split: What is trained on.
        settings: Of the run.
        engine: Device and processes.

    Raises:
        InputError: If the data does not fit the objective or the sampling.
    """
    training, dataset, labels = settings.training, split.dataset, split.labels
    names: Sequence[Any] | None = split.names
    stream = isinstance(dataset, IterableDataset)
    if settings.objective.name in SELF_SUPERVISED:
        dataset = _two_views(dataset)
    elif settings.objective.name in ("supervised", *ADAPTATION) and labels is not None and (labels < 0).any():
        # Samples without a label have nothing to learn from.
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise InputError("expected labelled samples to train on, found none. Label some, or train with simclr.")
        dataset, labels = _Labelled(dataset, rows), labels[rows]
    if training.balanced and (labels is None or labels.ndim > 1):
        raise InputError(
            f"expected labels of one task, known before reading, for training.balanced, found "
            f"{'a stream' if labels is None else f'{labels.shape[1]} tasks'}. Set it to false."
        )
    count = int(getattr(dataset, "samples", 0)) if stream else len(dataset)  # type: ignore[arg-type]
    batches = Batches(
        dataset,
        count,
        step_size(training.batch_size, count, parts=training.accumulation, processes=engine.num_processes),
        parts=training.accumulation,
        rank=engine.process_index,
        processes=engine.num_processes,
        workers=settings.run.workers,
        seed=training.seed,
        labels=labels if training.balanced else None,
        pin=engine.device.type == "cuda",
    )
    if batches.steps == 0:
        raise InputError(
            f"expected samples for one step of {batches.batch_size} or more, found {count} in a stream. Lower "
            f"training.batch_size or run.workers."
        )

    def name_of(key: Any) -> str:
        return str(names[key]) if names is not None and isinstance(key, int) else str(key)

    return batches, name_of


def _two_views(dataset: Dataset[Any]) -> Dataset[Any]:
    make = getattr(dataset, "with_views", None)
    if make is None:
        raise InputError(
            f"expected data that gives two views of a sample, found {type(dataset).__name__}. Choose files or arrays."
        )
    if getattr(dataset, "seed", 0) is None:
        raise InputError("expected views that differ, found none that do. Name some variations as data.augment.")
    viewed: Dataset[Any] = make(2)
    return viewed


class _Labelled(Dataset[tuple[Any, Any, Any]]):
    """Some rows of a data set, which keep their keys."""

    def __init__(self, dataset: Dataset[Any], rows: NDArray[np.int64]) -> None:
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        sample: tuple[Any, Any, Any] = self.dataset[int(self.rows[index])]
        return sample

    def read_batch(self, indices: Sequence[int]) -> Batch:
        """Return several samples as one batch."""
        return read_batch(self.dataset, self.rows[list(indices)].tolist())

    @property
    def draws_alone(self) -> bool:
        """Whether reading leaves torch's generator of the process alone."""
        return bool(getattr(self.dataset, "draws_alone", False))

    def set_epoch(self, epoch: int) -> None:
        """Draw as in the given epoch from now on."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
