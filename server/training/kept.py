"""The weights that a run keeps: whole, on the processor, on disk under their name once they are the best."""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..config.read import PretrainConfig, as_json
from ..data.split import Data
from ..folder import remove_folder
from ..objectives.make import SELF_SUPERVISED
from ..objectives.projector import last_linear, set_head
from .metrics import Metrics
from .probe import linear_probe

MODEL_FOLDER = "model"
_BEST = "best"


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
        self.folder, self.settings, self.data, self.architecture = folder, settings, data, architecture
        self.device = device
        self.model = copy.deepcopy(model).cpu()
        self.unlabelled = settings.objective.name in SELF_SUPERVISED
        head = settings.model.head
        self.head = last_linear(model) if self.unlabelled and head == "auto" else head

    @property
    def ended(self) -> bool:
        """Whether the run came to its end."""
        return (self.folder / MODEL_FOLDER).exists()

    def keep(self, weights: dict[str, Tensor], step: int, metrics: tuple[Metrics, ...]) -> None:
        """Write the best weights so far; the earlier ones go only then.

        Args:
            weights: Of the objective, whole and on the processor.
            step: Steps taken.
            metrics: Their scores; of objectives without labels those of a linear probe are taken.
        """
        prefix = "projected.model." if self.unlabelled else "model."
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        self.model.load_state_dict(own)
        if self.unlabelled:
            metrics = self._probe()
        target = self.folder / f"{_BEST}-{step:09d}"
        # One of the same step is of an attempt that was cut off before its checkpoint.
        remove_folder(target)
        notes: dict[str, Any] = {
            "classes": list(self.data.classes),
            "tasks": [{"name": task.name, "classes": list(task.classes)} for task in self.data.tasks],
            "shape": list(self.data.shape),
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "source": self.data.source,
            "step": step,
            "metrics": [{**asdict(one), "recall": list(one.recall)} for one in metrics],
            "config": as_json(self.settings),
        }
        save_checkpoint(target, self.model, architecture=self.architecture, notes=notes)
        for other in self.folder.glob(f"{_BEST}-*"):
            if other != target:
                remove_folder(other)

    def _probe(self) -> tuple[Metrics, ...]:
        """Give the model a head that was fitted on its features, where there are labels, and return its scores."""
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
        return () if probe.metrics is None else (probe.metrics,)

    def finish(self) -> None:
        """Give the best weights their final name."""
        best = max(self.folder.glob(f"{_BEST}-*"))
        best.rename(self.folder / MODEL_FOLDER)

    def load(self) -> Checkpoint:
        """Read the weights of a run that came to its end into `model`, and return what was noted of them."""
        found = load_checkpoint(self.folder / MODEL_FOLDER, self.model, architecture=self.architecture)
        self.model.eval()
        return found
