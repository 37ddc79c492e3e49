"""One run of pretraining: it trains, keeps what is best, and is judged where it adapts."""

import copy
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from .checked_data import Checked
from .config.read import PretrainConfig, as_json
from .data import Data
from .data.identity import identity_of
from .objectives.adaptation import adapts, weight_of
from .objectives.teacher import teacher_identity
from .run import Run, run_of
from .run_folder import held_folder, open_folder
from .run_report.page import REPORT_FILE, try_page
from .run_report.record import begin_record, end_record
from .trainee import make_trainee
from .training.engine import main_first
from .training.kept import Kept
from .training.loop import Listener, Progress, train
from .training.paired import paired
from .training.plan import Plan, Speed
from .training.position import CHECKPOINTS, check_config
from .training.samples import training_batches
from .training.state import load_record, newest
from .transfer.guarded import SOURCE_ONLY, Pair, judge_models, read_verdict, settle, source_only, write_verdict
from .transfer.origin import Origin

if TYPE_CHECKING:
    from accelerate import Accelerator

_log = logging.getLogger(__name__)


class Work:
    """One run: what was asked for, and a copy of the model that holds the weights to keep.

    Args:
        settings: What was asked for.
        folder: Of the run.
        data: To train on.
        model: Trained as it is, not a copy of it.
        architecture: Text from which the model is built again.
        running: Devices and processes.
        teacher: Of the objective distillation.
        checked: What was found in the data beforehand; None where it was handed over.
        origin: What fine-tuning needs of where the model comes from.
    """

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
        origin: Origin | None = None,
    ) -> None:
        self.origin = origin or Origin()
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
            work = Work(
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
                self._draw(again=True)

            main_first(running, decide)
        verdict = read_verdict(folder)
        if verdict is not None and not verdict.kept and running.is_main_process:
            _log.warning("The adapted model was refused, the run keeps that of the source alone. %s", verdict.reason)
        return replace(run_of(folder, self.kept.model, self.kept.load(), run.speed), verdict=verdict)

    def run(self, resume: bool, progress: Progress | None, listener: Listener | None) -> Run:
        """Train, or return what there is of a run that had ended."""
        config = self._config()
        if resume and self.kept.folders.ended:
            self._check_data(config)
            run = self._ended(None)
            self._draw(again=False)
            return run
        settings = self.settings
        # A checkpoint has what was measured.
        measure = not (resume and newest(self.folder / CHECKPOINTS) is not None)
        trainee, self.kept.plain = make_trainee(
            self.model,
            settings,
            self.classes,
            self.data,
            self.engine,
            teacher=self.teacher,
            origin=self.origin,
            measure=measure,
        )
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

    def _ended(self, speed: Speed | None) -> Run:
        notes = self.kept.load()
        check_config(notes.config, as_json(self.settings), self.folder)
        return run_of(self.folder, self.kept.model, notes, speed)
