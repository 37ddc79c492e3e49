"""What a training loop is given, and how fast it was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from .batches import Batches
from .paired import PairedBatches
from .settings import RunSettings, TrainingSettings


@dataclass(frozen=True, eq=False)
class Plan:
    """What a loop needs besides what it trains.

    Args:
        training: How to train.
        run: Logs and checkpoints.
        batches: Training samples of this process.
        validation: Samples to validate on after every epoch; None for none.
        classes: Classes of each task.
        folder: Of the run.
        config: The settings of the run, which a checkpoint must have been made with.
        name_of: Turns a key of a sample into what messages call it.
    """

    training: TrainingSettings
    run: RunSettings
    batches: Batches | PairedBatches
    validation: Dataset[Any] | None
    classes: tuple[int, ...]
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    name_of: Callable[[Any], str] = str


@dataclass(frozen=True)
class Speed:
    """How fast a loop was, since it began or was resumed.

    Args:
        samples_per_second: Over all processes, validation and checkpoints left out.
        input_wait: Share of that time spent waiting for samples, 0 to 1.
    """

    samples_per_second: float
    input_wait: float


@dataclass
class Meter:
    """Measures how fast a loop is.

    Args:
        waited: Seconds spent waiting for samples.
        busy: Seconds of all steps, waiting included.
        taken: Steps.
    """

    waited: float = 0.0
    busy: float = 0.0
    taken: int = 0

    def speed(self, batch_size: int) -> Speed:
        """Return how fast the loop was with so many samples a step; zeros before the first."""
        if not self.busy:
            return Speed(0.0, 0.0)
        return Speed(self.taken * batch_size / self.busy, self.waited / self.busy)
