"""Pretraining: from settings to a trained model, in one process or many."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import InputError
from .checked_data import Checked, checked_data
from .compress.hold_ranges import require_no_ranges
from .config.no_effect import Circumstances, told_in_vain
from .config.places import check_places
from .config.read import PretrainConfig, read_config
from .data import Data, load_data
from .data.load import form_of
from .keras.asked import check_settings, is_keras
from .objectives.make import SELF_SUPERVISED
from .objectives.teacher import load_teacher
from .run import Run, run_of
from .run_folder import check_folder
from .training.engine import engine, main_first
from .training.loop import Listener, Progress
from .training.samples import require_classes
from .transfer.guarded import guards
from .transfer.origin import origin_of
from .transfer.penalty import Penalty
from .work import Work

if TYPE_CHECKING:
    from accelerate import Accelerator

_log = logging.getLogger(__name__)


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
        origin = origin_of(settings, apart=apart_model, data=source_data, penalty=penalty)
        work = Work(settings, folder, data, model, known_by, running, teacher, checked, origin)
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
    return run_of(folder, made.model, made.notes, made.speed)


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
