"""One run of a Keras model, from settings and data to the best weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InputError
from ..config.read import PretrainConfig, as_json
from ..data.draws import seed_of
from ..data.identity import identity_of
from ..data.split import Data
from ..run_folder import held_folder, open_folder
from ..run_report.page import REPORT_FILE, try_page
from ..run_report.record import begin_record, end_record
from ..training.kept import KeptNotes
from ..training.loop import Listener, Progress
from ..training.plan import Plan, Speed
from ..training.position import CHECKPOINTS, check_config
from ..training.samples import training_batches
from ..training.state import load_record, newest
from .asked import asked_model
from .kept import KerasKept, trained_with
from .logits import KerasFile, KerasLogits
from .loop import KerasLoop
from .process import KerasProcess

if TYPE_CHECKING:
    from accelerate import Accelerator

# Which kind of draw a seed is for, so that no two kinds share their numbers.
_DROPOUT = 4


@dataclass(frozen=True, eq=False)
class KerasRun:
    """What a run gave.

    Args:
        model: The best weights; asks TensorFlow's process for logits.
        notes: Their step and scores.
        speed: None of a run that had ended before.
    """

    model: KerasLogits
    notes: KeptNotes
    speed: Speed | None


def run_keras(
    settings: PretrainConfig,
    folder: Path,
    data: Data,
    engine: "Accelerator",
    *,
    resume: bool,
    device: str,
    contents: Sequence[str],
    warnings: Sequence[str] | None,
    progress: Progress | None,
    listener: Listener | None,
) -> KerasRun:
    """Train a Keras model as settings say, in a process with TensorFlow.

    Args:
        settings: That `check_settings` let through.
        folder: Of the run.
        data: What to train and validate on.
        engine: Of this process, which reads data and counts answers.
        resume: Go on from the newest checkpoint.
        device: What TensorFlow may use: ``auto``, ``cpu`` or ``cuda``.
        contents: What tells the contents of the data.
        warnings: What a check of the data found; None where there was none.
        progress: Called with steps done and steps in total.
        listener: Called with every record of the log.

    Raises:
        InputError: If settings, data and model do not fit each other.
        MissingExtraError: If TensorFlow is not installed.
        TrainingError: As for `pretrain`.
    """
    if len(data.tasks) > 1:
        raise InputError(f"expected labels of one task for a Keras model, found {len(data.tasks)}. Name one column.")
    config = {**as_json(settings), "samples": identity_of(data, tuple(contents))}
    kept = KerasKept(folder, settings, data)
    if resume and kept.folders.ended:
        _check_data(folder, config)
        return _ended(settings, kept, folder, device, None)
    batches, name_of = training_batches(data.train, settings, engine)
    validation = None if data.validation is None else data.validation.dataset
    plan = Plan(settings.training, settings.run, batches, validation, (len(data.classes),), folder, config, name_of)
    with KerasProcess(device=device, threads=torch.get_num_threads()) as process:
        parameters = _build(process, settings, data)
        with held_folder(folder, resume=resume):
            if resume:
                kept.folders.settle(config, main=True)
            open_folder(folder, settings)
            begin_record(
                folder,
                data,
                parameters=parameters,
                warnings=warnings,
                contents=contents,
                device="cuda" if process.tools.get("gpus") else "cpu",
                processes=1,
                tools=trained_with(process.tools),
            )
            speed = KerasLoop(process, plan, kept, engine, progress, listener).run(resume=resume)
            kept.folders.finish()
            end_record(folder, speed)
            return _ended(settings, kept, folder, device, speed)


def _build(process: KerasProcess, settings: PretrainConfig, data: Data) -> int:
    """Let the process build the model; return the number of its parameters."""
    training, (first, *rest) = settings.training, data.shape
    answer = process.ask(
        "build",
        model=dict(asked_model(settings.model.name)),
        classes=len(data.classes),
        shape=[*rest, first],
        seed=settings.model.seed,
        draws=seed_of(training.seed, 0, 0, _DROPOUT),
        precision=training.precision,
        recipe={
            "weight_decay": training.weight_decay,
            "label_smoothing": training.label_smoothing,
            "gradient_norm": training.gradient_norm,
            "ema": training.ema,
        },
    )
    return int(answer.values["parameters"])


def _check_data(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse other data than a run that has ended was made with, where its checkpoints are still there."""
    path = newest(folder / CHECKPOINTS)
    if path is not None:
        check_config(load_record(path).get("config"), config, path)


def _ended(settings: PretrainConfig, kept: KerasKept, folder: Path, device: str, speed: Speed | None) -> KerasRun:
    notes = kept.load()
    check_config(notes.config, as_json(settings), folder)
    if settings.run.report and (speed is not None or not (folder / REPORT_FILE).exists()):
        try_page(folder)
    return KerasRun(KerasLogits(KerasFile(kept.file, device)).eval(), notes, speed)
