"""The weights that a run keeps: whole, on the processor, on disk under their name once they are the best."""

import copy
import re
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrainingError
from ..checkpoint import load_checkpoint, save_checkpoint
from ..config.read import PretrainConfig, as_json
from ..data.split import Data
from ..folder import remove_folder
from ..objectives.make import SELF_SUPERVISED
from ..objectives.projector import last_linear, set_head
from .metrics import Metrics
from .position import CHECKPOINTS, check_config, position_of
from .probe import linear_probe
from .state import all_states, load_record, newest

MODEL_FOLDER = "model"
_BEST = "best"
_ADVICE = "Restore that folder, or begin anew in another one."
_NAME = re.compile(rf"{_BEST}-(\d{{9}})")


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
        """Write the best weights so far; those of earlier ones go only then that no checkpoint knows.

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
        target = self._path(step)
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
        self._remove_but(self._known() | {step})

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

    def settle(self, config: Mapping[str, Any], *, main: bool) -> None:
        """Drop weights that the checkpoint to resume from does not know: an attempt that was cut off had kept them.

        Args:
            config: Settings and data of the run; with others nothing is dropped.
            main: Whether this process removes them; all look whether those that it knows are there.

        Raises:
            TrainingError: If they are not, or the checkpoint is damaged, or of another run.
        """
        path = newest(self.folder / CHECKPOINTS)
        if path is None:
            best = None
        else:
            record = load_record(path)
            check_config(record.get("config"), config, path)
            found = position_of(record, path).best
            best = None if found.score is None else found.step
        if main:
            self._remove_but({step for step in self._found() if step <= (best or 0)})
        if best is not None and best not in self._found():
            raise TrainingError(
                f"expected the best weights so far at {self._path(best)}, as {path} notes, found none. Put that folder "
                f"back, or begin anew in another one."
            )

    def finish(self) -> None:
        """Give the best weights their final name.

        Raises:
            TrainingError: If somebody removed them.
        """
        found = self._found()
        if not found:
            raise TrainingError(
                f"expected the best weights of the run in {self.folder}, found none. Begin anew in another folder."
            )
        last = max(found)
        self._remove_but({last})
        found[last].rename(self.folder / MODEL_FOLDER)

    def load(self) -> KeptNotes:
        """Read the weights of a run that came to its end into `model`, and return what was noted of them.

        Raises:
            TrainingError: If they are damaged, of another network, or not kept by a run.
        """
        path = self.folder / MODEL_FOLDER
        notes = load_checkpoint(path, self.model, architecture=self.architecture).notes
        self.model.eval()
        step, metrics, config = (notes.get(name) for name in ("step", "metrics", "config"))
        if type(step) is not int or not isinstance(metrics, list) or not isinstance(config, dict):
            raise TrainingError(f"expected step, metrics and config noted in {path}, found {sorted(notes)}. {_ADVICE}")
        return KeptNotes(step, tuple(_metrics(one, path) for one in metrics), config)

    def _path(self, step: int) -> Path:
        return self.folder / f"{_BEST}-{step:09d}"

    def _found(self) -> dict[int, Path]:
        paths = {path: _NAME.fullmatch(path.name) for path in self.folder.glob(f"{_BEST}-*")}
        return {int(match[1]): path for path, match in paths.items() if match}

    def _known(self) -> set[int]:
        """Return the steps of the best weights that checkpoints note."""
        steps = set()
        for path in all_states(self.folder / CHECKPOINTS):
            # From a damaged one nobody resumes.
            with suppress(TrainingError):
                steps.add(position_of(load_record(path), path).best.step)
        return steps

    def _remove_but(self, steps: Set[int]) -> None:
        for step, path in self._found().items():
            if step not in steps:
                remove_folder(path)


def _metrics(found: object, path: Path) -> Metrics:
    """Return scores as they were noted."""
    names = {one.name for one in fields(Metrics)}
    recall = found.get("recall") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or found.keys() != names
        or not isinstance(recall, list)
        or not all(isinstance(value, int | float) for name, value in found.items() if name != "recall")
        or not all(value is None or isinstance(value, int | float) for value in recall)
    ):
        raise TrainingError(f"expected scores noted in {path} as {sorted(names)}, found {found!r:.60}. {_ADVICE}")
    return Metrics(**{**found, "recall": tuple(recall)})
