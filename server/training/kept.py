"""The weights that a run keeps: whole, on the processor, on disk under their name once they are the best."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrainingError
from ..checkpoint import load_checkpoint, save_checkpoint
from ..config.read import PretrainConfig, as_json
from ..data.load import data_notes
from ..data.split import Data
from ..full_disk import told_if_full
from ..model_folder import MODEL_FOLDER
from ..objectives.make import SELF_SUPERVISED
from ..objectives.projector import last_linear, set_head
from .best_folders import BestFolders
from .breakdown import VALIDATION_FILE, breakdown_of, write_breakdowns
from .divergence import require_scores
from .metrics import Counts, Metrics, metrics_of
from .probe import linear_probe

# Beyond it a plot cannot be scaled.
_LARGEST_LOSS = 1e300
_ADVICE = "Restore that folder, or begin anew in another one."


@dataclass(frozen=True)
class KeptNotes:
    """What was noted of the weights of a run that came to its end.

    Args:
        step: Steps taken when they were reached.
        metrics: Their scores, one per task.
        config: Settings of the run, by section and name.
    """

    step: int
    metrics: tuple[Metrics, ...]
    config: Mapping[str, Any]


class Kept:
    """The best weights of a run so far.

    Args:
        folder: Of the run.
        settings: Of the run.
        data: What it is trained and validated on.
        model: The model, before it is wrapped or sharded; a copy of it is kept.
        architecture: Text that the checkpoint is known by.
        device: Where a linear probe computes features.
    """

    def __init__(
        self,
        folder: Path,
        settings: PretrainConfig,
        data: Data,
        model: nn.Module,
        architecture: str,
        device: torch.device,
    ) -> None:
        self.folders = BestFolders(folder)
        self.settings, self.data, self.architecture = settings, data, architecture
        self.device = device
        self.model = copy.deepcopy(model).cpu()
        # Turns the state of the model that trains into that of the one that is kept: adapters become part of it.
        self.plain: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
        self.unlabelled = settings.objective.name in SELF_SUPERVISED
        head = settings.model.head
        self.head = last_linear(model) if self.unlabelled and head == "auto" else head

    def keep(self, weights: dict[str, Tensor], step: int, counts: tuple[Counts, ...]) -> None:
        """Write the best weights so far; those of earlier ones go only then that no checkpoint knows.

        Args:
            weights: Of the objective, whole and on the processor.
            step: Steps taken.
            counts: What their scores are made of, one per task; of objectives without labels those of a linear probe
                are taken.
        """
        prefix = "projected.model." if self.unlabelled else "model."
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        self.model.load_state_dict(self.plain(own))
        if self.unlabelled:
            counts = self._probe()
        metrics = tuple(map(metrics_of, counts))
        require_scores(metrics, step, self.settings.training.learning_rate)
        target = self.folders.make_room(step)
        notes = notes_of(self.data, self.settings, step, metrics)
        save_checkpoint(target, self.model, architecture=self.architecture, notes=notes)
        # Whoever dies before this resumes from a checkpoint before these weights, which are then made again.
        with told_if_full("what scores are made of", target / VALIDATION_FILE):
            write_breakdowns(target, step, tuple(map(breakdown_of, counts)))
        self.folders.remove_old(step)

    def _probe(self) -> tuple[Counts, ...]:
        """Give the model a head that was fitted on its features, where there are labels, and return its counts."""
        train, validation = self.data.train, self.data.validation
        if train.labels is None or not (train.labels >= 0).any():
            return ()
        plain = getattr(train.dataset, "plain", None)
        self.model.to(self.device)
        probe = linear_probe(
            self.model,
            self.head,
            (plain() if plain else train.dataset, train.labels),
            None if validation is None else validation.dataset,
            len(self.data.classes),
            share=self.settings.objective.probe_share,
            seed=self.settings.training.seed,
        )
        self.model.cpu()
        set_head(self.model, self.head, probe.weight, probe.bias)
        return () if probe.counts is None else (probe.counts,)

    def load(self) -> KeptNotes:
        """Read the weights of a run that came to its end into `model`, and return what was noted of them.

        Raises:
            TrainingError: If they are damaged, of another network, or not kept by a run.
        """
        path = self.folders.folder / MODEL_FOLDER
        notes = load_checkpoint(path, self.model, architecture=self.architecture).notes
        self.model.eval()
        return read_notes(notes, path)


def notes_of(data: Data, settings: PretrainConfig, step: int, metrics: tuple[Metrics, ...]) -> dict[str, Any]:
    """Return what is noted beside weights, JSON values only.

    Args:
        data: What they were trained and validated on.
        settings: Of the run.
        step: Steps taken.
        metrics: Their scores, one per task.
    """
    return {
        **data_notes(data),
        "step": step,
        "metrics": [{**asdict(one), "recall": list(one.recall)} for one in metrics],
        "config": as_json(settings),
    }


def read_notes(notes: Mapping[str, Any], path: Path) -> KeptNotes:
    """Return what `notes_of` noted.

    Args:
        notes: Of a checkpoint.
        path: Of the checkpoint, for messages.

    Raises:
        TrainingError: If it was not kept by a run.
    """
    step, metrics, config = (notes.get(name) for name in ("step", "metrics", "config"))
    if type(step) is not int or not isinstance(metrics, list) or not isinstance(config, dict):
        raise TrainingError(f"expected step, metrics and config noted in {path}, found {sorted(notes)}. {_ADVICE}")
    return KeptNotes(step, tuple(noted_metrics(one, path) for one in metrics), config)


def noted_metrics(found: object, path: Path) -> Metrics:
    """Return scores as they were noted.

    Args:
        found: One of the notes' metrics.
        path: Of the weights, for messages.

    Raises:
        TrainingError: If they are no scores.
    """
    names = {one.name for one in fields(Metrics)}
    recall = found.get("recall") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or found.keys() != names
        or not isinstance(recall, list)
        or type(found["samples"]) is not int
        or not 0 < found["samples"] < 2**53
        or not _within(found["loss"], _LARGEST_LOSS)
        or not all(_within(found[name], 1) for name in ("accuracy", "macro_f1", "calibration_error"))
        or not all(value is None or _within(value, 1) for value in recall)
    ):
        raise TrainingError(f"expected scores noted in {path} as {sorted(names)}, found {found!r:.60}. {_ADVICE}")
    return Metrics(**{**found, "recall": tuple(recall)})


def _within(value: Any, most: float) -> bool:
    """Whether it is a number from 0 on; sums of shares may go beyond 1 by rounding."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e-9 <= value <= most * (1 + 1e-9)
