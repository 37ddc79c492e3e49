"""Pretraining: from settings to a trained model, in one process or many."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import IterableDataset

from ..errors import InputError
from .checked_data import Checked, checked_data
from .compress.hold_ranges import require_no_ranges
from .config.no_effect import Circumstances, told_in_vain
from .config.places import check_places
from .config.read import PretrainConfig, as_json, read_config
from .data import Data, load_data
from .data.identity import identity_of
from .data.load import form_of
from .keras.asked import check_settings, is_keras
from .objectives.adaptation import adapts, weight_of
from .objectives.make import SELF_SUPERVISED, make_objective
from .objectives.teacher import load_teacher, teacher_identity
from .run_folder import check_folder, held_folder, open_folder
from .run_report.page import REPORT_FILE, try_page
from .run_report.record import begin_record, end_record
from .training.engine import engine, main_first
from .training.kept import Kept, KeptNotes
from .training.logs import read_log
from .training.loop import Listener, Progress, train
from .training.metrics import Metrics
from .training.optimizer import make_optimizer
from .training.paired import domain_numbers, paired
from .training.plan import Plan, Speed
from .training.position import CHECKPOINTS, check_config
from .training.samples import require_classes, training_batches
from .training.sharding import shard
from .training.state import load_record, newest
from .training.steps import Trainee
from .transfer.guard import Verdict
from .transfer.guarded import SOURCE_ONLY, Pair, guards, judge_models, read_verdict, settle, source_only, write_verdict
from .transfer.penalty import Anchored, Penalty
from .transfer.tuning import Tuned, make_penalty, new_parameters, tuned

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
    teacher: nn.Module | None = None,
    architecture: str | None = None,
    source_data: Data | None = None,
    penalty: Penalty | None = None,
) -> Run:
    """Train a model as settings say. Under torchrun, all processes train together. Settings in vain are logged.

    The same settings, data and number of processes give the same weights on the same kind of device, whether or not the
    run was cut off and resumed in between.

    Args:
        config: Settings, or a file of them. Relative paths in them begin at the working directory.
        overrides: Changes to a file of settings, such as ``training.epochs=3``.
        out: Folder of the run: made, or empty, or with `resume` that of a run with the same settings.
        resume: Go on from the newest checkpoint in `out`; begin if there is none.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with steps done and steps in total.
        listener: Called with every record of the log.
        data: Used instead of what the settings name.
        model: Trained instead of what the settings name; stays as it is, a copy is trained.
        teacher: Of the objective distillation, instead of what the settings name; stays as it is.
        architecture: Text from which `model` is built again, which its checkpoint is known by; then `model` and `data`
            are what the settings describe. What the settings name where None.
        source_data: Samples of the source, for EWC, instead of what the settings name.
        penalty: Added to the loss, of the model's parameters; instead of what the settings name.

    Returns:
        The model and how it came about.

    Raises:
        InputError: If settings, data, model or device do not fit each other, or another process trains in `out`.
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
        check_places(settings, Path(config))
    folder = Path(out)
    keras = model is None and is_keras(settings.model.name)
    if keras:
        check_settings(settings)
    # TensorFlow's process has device and precision of its own.
    place = ("cpu", "float32") if keras else (device, settings.training.precision)
    # Dropout draws from the global generator; the caller's is put back afterwards.
    with engine(*place) as running, torch.random.fork_rng(devices=_cuda(running)):
        main_first(running, lambda: check_folder(folder, resume=resume))
        # With a text that it is built from, what was handed over is what the settings describe.
        apart = architecture is None
        around = Circumstances(own_data=apart and data is not None, own_model=apart and model is not None)
        checked = None
        if data is None:
            data = load_data(settings.data, seed=settings.training.seed)
            checked = checked_data(data, running, labels=settings.objective.name not in SELF_SUPERVISED)
            around = replace(around, form=form_of(data))
        require_classes(settings.objective.name, data)
        vain = told_in_vain(settings, replace(around, validated=data.validation is not None))
        if running.is_main_process:
            for sentence in (*(checked.warnings if checked else ()), *vain):
                _log.warning(sentence)
        if keras:
            return _run_keras(settings, folder, data, running, checked, vain, resume, device, progress, listener)
        apart_model = model is not None
        if model is None:
            model, known_by = _build(settings, data)
        else:
            model, known_by = copy.deepcopy(model), architecture or settings.model.name
        require_no_ranges(model, "train")
        if settings.objective.name == "distillation" and teacher is None:
            teacher = load_teacher(settings.objective, data.classes)
        elif settings.objective.name != "distillation" and teacher is not None:
            raise InputError(
                f"expected a teacher with the objective distillation alone, found one with {settings.objective.name}. "
                f'Set objective.name = "distillation", or leave it out.'
            )
        if checked is not None:
            checked = replace(checked, warnings=(*checked.warnings, *vain))
        origin = _origin(settings, apart=apart_model, data=source_data, penalty=penalty)
        work = _Work(settings, folder, data, model, known_by, running, teacher, checked, origin)
        return (work.run_guarded if guards(settings) else work.run)(resume, progress, listener)


def _run_keras(
    settings: PretrainConfig,
    folder: Path,
    data: Data,
    running: "Accelerator",
    checked: Checked | None,
    vain: tuple[str, ...],
    resume: bool,
    device: str,
    progress: Progress | None,
    listener: Listener | None,
) -> Run:
    from .keras.run import run_keras

    made = run_keras(
        settings,
        folder,
        data,
        running,
        resume=resume,
        device=device,
        contents=checked.contents if checked else (),
        warnings=(*checked.warnings, *vain) if checked else None,
        progress=progress,
        listener=listener,
    )
    return _run_of(folder, made.model, made.notes, made.speed)


@dataclass(frozen=True, eq=False)
class _Origin:
    """What fine-tuning needs of where a model comes from.

    Args:
        model: As it was before its last layer was replaced; None where that was not asked for, or is the same.
        data: Samples of the source.
        penalty: That was handed over.
    """

    model: nn.Module | None = None
    data: Data | None = None
    penalty: Penalty | None = None


def _origin(settings: PretrainConfig, *, apart: bool, data: Data | None, penalty: Penalty | None) -> _Origin:
    transfer = settings.transfer
    if penalty is not None and transfer.penalty != "none":
        raise InputError(
            f'expected transfer.penalty = "none" with a penalty that is handed over, found {transfer.penalty!r}.'
        )
    if transfer.penalty == "none":
        return _Origin(penalty=penalty)
    if transfer.penalty == "ewc" and data is None and transfer.source_data is not None:
        # Labels, classes and what belongs to the data that is trained on are no business of the source's.
        own = replace(settings.data, train=transfer.source_data, validation=None, validation_share=0.0, augment=())
        own = replace(own, classes=(), target=None, target_validation=None, domain=None)
        data = load_data(own, seed=settings.training.seed)
    if apart:
        return _Origin(None, data)
    from .models import first_model

    return _Origin(first_model(settings.model), data)


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
        teacher: nn.Module | None = None,
        checked: Checked | None = None,
        origin: "_Origin | None" = None,
    ) -> None:
        self.origin = origin or _Origin()
        self.settings, self.folder, self.data, self.engine = settings, folder, data, running
        self.teacher, self.checked = teacher, checked
        self.classes = tuple(len(task.classes) for task in data.tasks) or (len(data.classes),)
        self.model = model
        self.kept = Kept(folder, settings, data, model, architecture, running.device)

    def run_guarded(self, resume: bool, progress: Progress | None, listener: Listener | None) -> Run:
        """Train, then on the source alone in a folder within, and keep the model that the guard chooses."""
        settings, folder, running = self.settings, self.folder, self.engine
        written = as_json(settings)
        if resume:
            main_first(running, lambda: settle(folder, written))
        first, shown = copy.deepcopy(self.model), self.kept.architecture
        run = self.run(resume, progress, listener)
        if read_verdict(folder) is None:
            beside = folder / SOURCE_ONLY
            work = _Work(
                source_only(settings),
                beside,
                self.data,
                first,
                shown,
                running,
                checked=self.checked,
                origin=self.origin,
            )
            models = Pair(work.run(beside.exists(), None, None).model, run.model)

            def decide() -> None:
                write_verdict(folder, judge_models(models, self.data, settings, running.device))
                settle(folder, written)

            main_first(running, decide)
        verdict = read_verdict(folder)
        if verdict is not None and not verdict.kept and running.is_main_process:
            _log.warning("The adapted model was refused, the run keeps that of the source alone. %s", verdict.reason)
        return replace(_run_of(folder, self.kept.model, self.kept.load(), run.speed), verdict=verdict)

    def run(self, resume: bool, progress: Progress | None, listener: Listener | None) -> Run:
        config = self._config()
        if resume and self.kept.folders.ended:
            self._check_data(config)
            run = self._ended(None)
            self._draw(again=False)
            return run
        settings = self.settings
        trainee = self._trainee(resume)
        validation = None if self.kept.unlabelled or self.data.validation is None else self.data.validation.dataset
        batches, name_of = training_batches(self.data.train, settings, self.engine)
        # Objectives without labels have none to blend; those that adapt blend no domains, and what is best in the
        # source is not best in the target.
        unblended = replace(settings.training, mixup=0.0, cutmix=0.0)
        adapting = adapts(settings.objective)
        aligned = adapting and weight_of(settings.objective) > 0
        plan = Plan(
            replace(unblended, monitor="last", patience=None)
            if adapting
            else unblended
            if self.kept.unlabelled
            else settings.training,
            settings.run,
            paired(batches, self.data, settings, self.engine) if aligned else batches,
            validation,
            self.classes,
            self.folder,
            config,
            name_of,
        )
        main = self.engine.is_main_process
        with ExitStack() as held:
            main_first(self.engine, lambda: held.enter_context(held_folder(self.folder, resume=resume)))
            if resume:
                self.kept.folders.settle(plan.config, main=main)
            main_first(self.engine, self._begin)
            _, speed = train(trainee, plan, self.kept.keep, resume=resume, progress=progress, listener=listener)
            main_first(self.engine, lambda: self._finish(speed))
        return self._ended(speed)

    def _begin(self) -> None:
        open_folder(self.folder, self.settings)
        begin_record(
            self.folder,
            self.data,
            parameters=sum(parameter.numel() for parameter in self.kept.model.parameters()),
            warnings=None if self.checked is None else self.checked.warnings,
            contents=self.checked.contents if self.checked else (),
            device=self.engine.device.type,
            processes=self.engine.num_processes,
        )

    def _finish(self, speed: Speed) -> None:
        self.kept.folders.finish()
        end_record(self.folder, speed)
        self._draw(again=True)

    def _draw(self, *, again: bool) -> None:
        """Write the page of a run that has ended; of one that had ended before, only where there is none."""
        missing = again or not (self.folder / REPORT_FILE).exists()
        if missing and self.settings.run.report and self.engine.is_main_process:
            try_page(self.folder)

    def _config(self) -> dict[str, Any]:
        """Return what a checkpoint must have been made with: settings, samples, and the teacher's weights."""
        contents = self.checked.contents if self.checked else ()
        found = {**as_json(self.settings), "samples": identity_of(self.data, contents)}
        return found if self.teacher is None else {**found, "teacher": teacher_identity(self.teacher)}

    def _check_data(self, config: Mapping[str, Any]) -> None:
        """Refuse other data than a run that has ended was made with, where its checkpoints are still there."""
        path = newest(self.folder / CHECKPOINTS)
        if path is not None:
            check_config(load_record(path).get("config"), config, path)

    def _trainee(self, resume: bool) -> Trainee:
        settings, running = self.settings, self.engine
        tuning = tuned(
            self.model,
            settings.transfer,
            outputs=sum(self.classes),
            head=settings.model.head,
            seed=settings.training.seed,
        )
        self.kept.plain = tuning.plain
        objective = make_objective(
            self.model,
            settings.objective,
            self.classes,
            label_smoothing=settings.training.label_smoothing,
            head=settings.model.head,
            seed=settings.training.seed,
            teacher=self.teacher,
            shape=self.data.shape,
            sources=max(domain_numbers(self.data.train) or [1]),
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
        penalty = self._penalty(resume)
        if sharded:
            shard(objective, running.device)
        if isinstance(penalty, Anchored):
            penalty = penalty.placed(self.model)
        # Of a sharded module the engine sees to precision alone.
        prepared = running.prepare_model(objective, evaluation_mode=sharded)
        l2_sp = settings.transfer.penalty == "l2-sp"
        optimizer = make_optimizer(
            objective,
            learning_rate=settings.training.learning_rate,
            weight_decay=0.0 if l2_sp else settings.training.weight_decay,
            factor_of=self._factor_of(tuning),
        )
        optimizer = running.prepare_optimizer(optimizer)
        return Trainee(objective, prepared, optimizer, running, self.model, penalty, tuning.still)

    def _factor_of(self, tuning: Tuned) -> Callable[[str], float]:
        prefix = "projected.model." if self.kept.unlabelled else "model."
        return lambda name: tuning.factors.get(name.removeprefix(prefix), 1.0)

    def _penalty(self, resume: bool) -> Penalty | None:
        if self.origin.penalty is not None or self.settings.transfer.penalty == "none":
            return self.origin.penalty
        data = self.data.train
        new = new_parameters(self.model, self.origin.model, self.settings.transfer)
        made = make_penalty(
            self.model,
            self.settings.transfer,
            new=new,
            source=self.origin.model,
            data=self.origin.data,
            count=int(getattr(data.dataset, "samples", 0)) if data.labels is None else len(data.labels),
            seed=self.settings.training.seed,
            # A checkpoint has what was measured.
            measure=not (resume and newest(self.folder / CHECKPOINTS) is not None),
            tell=self.engine.is_main_process,
        )
        if made is not None and self.engine.num_processes > 1:
            for tensor in made.tensors().values():
                # Processes must not differ in it by rounding.
                torch.distributed.broadcast(tensor, 0)
        return made

    def _ended(self, speed: Speed | None) -> Run:
        notes = self.kept.load()
        check_config(notes.config, as_json(self.settings), self.folder)
        return _run_of(self.folder, self.kept.model, notes, speed)


def _run_of(folder: Path, model: nn.Module, notes: KeptNotes, speed: Speed | None) -> Run:
    epochs = tuple(record for record in read_log(folder) if record.get("kind") == "epoch")
    steps = epochs[-1].get("step", 0) if epochs else 0
    return Run(folder, model, steps, notes.step, notes.metrics, epochs, speed)


def _cuda(running: "Accelerator") -> list[torch.device]:
    return [running.device] if running.device.type == "cuda" else []


def _build(settings: PretrainConfig, data: Data) -> tuple[nn.Module, str]:
    """Return the model that settings name, and the text from which it can be built again."""
    # Loading models by name needs the converters, which a run on a model of one's own does not.
    from .models import architecture_of, build_model

    # One output per class of every task; the objective parts them. Without classes the model keeps its own.
    classes = sum(len(task.classes) for task in data.tasks) or len(data.classes)
    built = build_model(settings.model, classes, data.shape)
    return built, architecture_of(settings.model, classes, data.shape)
