"""What a run of pretraining gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .training.kept import KeptNotes
from .training.logs import read_log
from .training.metrics import Metrics
from .training.plan import Speed
from .transfer.guard import Verdict


@dataclass(frozen=True, eq=False)
class Run:
    """What pretraining gave.

    Args:
        folder: With the model, its settings, the log and the checkpoints.
        model: The best weights by validation, or the last ones without any; on the processor, in evaluation mode.
        steps: Steps taken.
        best_step: The step whose weights the model has.
        metrics: Validation scores of the model, one per task; of objectives without labels those of the linear probe.
        epochs: The log's record of each epoch.
        speed: Samples a second and the share of waiting for them; None of a run that had ended before.
        verdict: Of a guarded adaptation, whether the adapted model is kept; None of other runs.
    """

    folder: Path
    model: nn.Module
    steps: int
    best_step: int
    metrics: tuple[Metrics, ...]
    epochs: tuple[Mapping[str, Any], ...]
    speed: Speed | None
    verdict: Verdict | None = None


def run_of(folder: Path, model: nn.Module, notes: KeptNotes, speed: Speed | None) -> Run:
    """Return what a run that has ended gave, by its log.

    Args:
        folder: Of the run.
        model: With the weights that it kept.
        notes: What is noted beside them.
        speed: Of the training just done; None where it was done before.
    """
    epochs = tuple(record for record in read_log(folder) if record.get("kind") == "epoch")
    steps = epochs[-1].get("step", 0) if epochs else 0
    return Run(folder, model, steps, notes.step, notes.metrics, epochs, speed)
