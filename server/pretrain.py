"""Pretraining: from settings to a trained model, in one process or many."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import IterableDataset

from ..errors import InputError
from .config.read import PretrainConfig, as_json, read_config
from .data import Data, load_data, validate_data
from .data.identity import identity_of
from .objectives.make import make_objective
from .run_folder import check_folder, open_folder
from .training.engine import engine
from .training.kept import Kept
from .training.logs import read_log
from .training.loop import Listener, Progress, train
from .training.metrics import Metrics
from .training.optimizer import make_optimizer
from .training.plan import Plan, Speed
from .training.position import check_config
from .training.samples import training_batches
from .training.sharding import shard
from .training.steps import Trainee

if TYPE_CHECKING:
    from accelerate import Accelerator

_log = logging.getLogger(__name__)


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
    """

    folder: Path
    model: nn.Module
    steps: int
    best_step: int
    metrics: tuple[Metrics, ...]
    epochs: tuple[Mapping[str, Any], ...]
    speed: Speed | None


def pretrain(
    config: PretrainConfig | Path | str,
    *,
    overrides: Sequence[str] = (),
    out: Path | str,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    listener: Listener | None = None,
    data: Data | None = None,
    model: nn.Module | None = None,
) -> Run:
    """Train a model as settings say. Under torchrun, all processes train together.

    The same settings, data and number of processes give the same weights on the same kind of device, whether or not the
    run was cut off and resumed in between.

    Args:
        config: Settings, or a file of them.
        overrides: Changes to a file of settings, such as ``training.epochs=3``.
        out: Folder of the run: made, or empty, or with `resume` that of a run with the same settings.
        resume: Go on from the newest checkpoint in `out`; begin if there is none.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with steps done and steps in total.
        listener: Called with every record of the log.
        data: Used instead of what the settings name.
        model: Trained instead of what the settings name; stays as it is, a copy is trained.

    Returns:
        The model and how it came about.

    Raises:
        InputError: If settings, data, model or device do not fit each other.
        OutputExistsError: If `out` holds something, and `resume` is false or it is no run.
        TrainingError: If a loss is not finite, memory or disk are full, or a checkpoint is of another run. Checkpoints
            written before stay, and the run can be resumed.
    """
    if isinstance(config, PretrainConfig):
        if overrides:
            raise InputError("expected overrides with a file of settings, found settings. Use dataclasses.replace.")
        settings = config
    else:
        settings = read_config(config, overrides)
    folder = Path(out)
    # Dropout draws from the global generator; the caller's is put back afterwards.
    with engine(device, settings.training.precision) as running, torch.random.fork_rng(devices=_cuda(running)):
        check_folder(folder, running, resume=resume)
        if data is None:
            data = load_data(settings.data, seed=settings.training.seed)
            if running.is_main_process:
                report = validate_data(data)
                report.require_sound()
                for finding in report.warnings:
                    _log.warning(finding.message)
        if model is None:
            model, architecture = _build(settings, data)
        else:
            model, architecture = copy.deepcopy(model), settings.model.name
        return _Work(settings, folder, data, model, architecture, running).run(resume, progress, listener)


class _Work:
    """One run: what was asked for, and a copy of the model that holds the weights to keep."""

    def __init__(
        self,
        settings: PretrainConfig,
        folder: Path,
        data: Data,
        model: nn.Module,
        architecture: str,
        running: "Accelerator",
    ) -> None:
        self.settings, self.folder, self.data, self.engine = settings, folder, data, running
        self.classes = tuple(len(task.classes) for task in data.tasks) or (len(data.classes),)
        self.model = model
        self.kept = Kept(folder, settings, data, model, architecture, running.device)

    def run(self, resume: bool, progress: Progress | None, listener: Listener | None) -> Run:
        if resume and self.kept.ended:
            return self._ended(None)
        settings = self.settings
        trainee = self._trainee()
        validation = None if self.kept.unlabelled or self.data.validation is None else self.data.validation.dataset
        batches, name_of = training_batches(self.data.train, settings, self.engine)
        plan = Plan(
            settings.training,
            settings.run,
            batches,
            validation,
            self.classes,
            self.folder,
            {**as_json(settings), "samples": identity_of(self.data)},
            name_of,
        )
        if resume:
            self.kept.settle(plan.config, main=self.engine.is_main_process)
        open_folder(self.folder, settings, self.engine)
        _, speed = train(trainee, plan, self.kept.keep, resume=resume, progress=progress, listener=listener)
        if self.engine.is_main_process:
            self.kept.finish()
        self.engine.wait_for_everyone()
        return self._ended(speed)

    def _trainee(self) -> Trainee:
        settings, running = self.settings, self.engine
        objective = make_objective(
            self.model,
            settings.objective,
            self.classes,
            label_smoothing=settings.training.label_smoothing,
            head=settings.model.head,
            seed=settings.training.seed,
        )
        sharded = settings.run.sharding == "fsdp"
        if getattr(objective, "projects", False) and (sharded or settings.training.precision == "float16"):
            raise InputError(
                'expected objective.combine = "pcgrad" with whole models in float32 or bfloat16, found '
                f"run.sharding = {settings.run.sharding!r}, training.precision = {settings.training.precision!r}."
            )
        validation = self.data.validation
        if sharded and validation is not None and isinstance(validation.dataset, IterableDataset):
            # Sharded models are run by all processes at once, and streams have other numbers of batches in each.
            raise InputError(
                'expected validation data in files or arrays with run.sharding = "fsdp", found shards. Name such data '
                'as data.validation, or set run.sharding = "none".'
            )
        if sharded and running.num_processes == 1:
            raise InputError(
                'expected several processes for run.sharding = "fsdp", found one. Start them with torchrun.'
            )
        objective.to(running.device)
        if sharded:
            shard(objective, running.device)
        # Of a sharded module the engine sees to precision alone.
        prepared = running.prepare_model(objective, evaluation_mode=sharded)
        optimizer = make_optimizer(
            objective, learning_rate=settings.training.learning_rate, weight_decay=settings.training.weight_decay
        )
        return Trainee(objective, prepared, running.prepare_optimizer(optimizer), running)

    def _ended(self, speed: Speed | None) -> Run:
        notes = self.kept.load()
        check_config(notes.config, as_json(self.settings), self.folder)
        epochs = tuple(record for record in read_log(self.folder) if record.get("kind") == "epoch")
        steps = epochs[-1].get("step", 0) if epochs else 0
        return Run(self.folder, self.kept.model, steps, notes.step, notes.metrics, epochs, speed)


def _cuda(running: "Accelerator") -> list[torch.device]:
    return [running.device] if running.device.type == "cuda" else []


def _build(settings: PretrainConfig, data: Data) -> tuple[nn.Module, str]:
    """Return the model that settings name, and the text from which it can be built again."""
    # Loading models by name needs the converters, which a run on a model of one's own does not.
    from .models import architecture_of, build_model

    # One output per class of every task; the objective parts them.
    classes = sum(len(task.classes) for task in data.tasks) or len(data.classes)
    built = build_model(settings.model, classes, data.shape)
    return built, architecture_of(settings.model, classes, data.shape)
