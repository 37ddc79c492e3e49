"""The training loop: epochs of steps, with validation, checkpoints and logs between them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from .average import Average
from .batches import Batch
from .divergence import warn_of_growth
from .evaluate import evaluate
from .logs import Log
from .metrics import Counts, metrics_of
from .plan import Meter, Plan, Speed
from .position import CHECKPOINTS, Position, restore, store
from .schedule import make_schedule
from .steps import Steps, Taken, Trainee, whole
from .workers import deaths_told

Keep: TypeAlias = Callable[[dict[str, Tensor], int, tuple[Counts, ...]], None]
Listener: TypeAlias = Callable[[Mapping[str, Any]], None]
Progress: TypeAlias = Callable[[int, int], None]


def train(
    trainee: Trainee,
    plan: Plan,
    keep: Keep,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    listener: Listener | None = None,
) -> tuple[Position, Speed]:
    """Train until the last epoch, or until patience is at its end.

    Args:
        trainee: What is trained, in place.
        plan: How, on what, and where to.
        keep: Called in the main process with the objective's weights, whole, with the step and its counts: whenever
            they are the best so far; without validation at the end.
        resume: Begin at the newest checkpoint in the folder, if there is one.
        progress: Called with steps done and steps in total.
        listener: Called in the main process with every record of the log.

    Returns:
        Where it ended, and how fast it was.

    Raises:
        TrainingError: If a loss is not finite, memory or disk are full, or the checkpoint is of another run. Earlier
            checkpoints stay.
    """
    return _Loop(trainee, plan, keep, progress, listener).run(resume=resume)


class _Loop:
    def __init__(
        self, trainee: Trainee, plan: Plan, keep: Keep, progress: Progress | None, listener: Listener | None
    ) -> None:
        self.trainee, self.plan, self.keep = trainee, plan, keep
        self.progress, self.listener = progress, listener
        training = plan.training
        self.total = plan.batches.steps * training.epochs
        self.schedule = make_schedule(training.schedule, self.total, training.warmup)
        self.steps = Steps(trainee, training, self.schedule, plan.classes, plan.name_of)
        self.average = Average(trainee.module, training.ema) if training.ema else None
        self.main = trainee.engine.is_main_process
        self.position = Position()
        self.recent: list[Taken] = []
        self.meter = Meter()
        self.log: Log | None = None

    def run(self, *, resume: bool) -> tuple[Position, Speed]:
        plan, training = self.plan, self.plan.training
        if resume:
            self.position = restore(plan.folder / CHECKPOINTS, self.trainee, self.average, plan.config)
        with deaths_told(plan.run.workers), self._opened_log() as self.log:
            while self.position.epoch < training.epochs and not self.position.patience_ended(training.patience):
                self._epoch()
            if plan.validation is None:
                self._keep(())
        if self.main:
            warn_of_growth(self.position.epochs)
        return self.position, self._speed()

    def _opened_log(self) -> AbstractContextManager[Log | None]:
        if not self.main:
            return nullcontext()
        return Log(self.plan.folder, step=self.position.step, tensorboard=self.plan.run.tensorboard)

    def _speed(self) -> Speed:
        return self.meter.speed(self.plan.batches.batch_size)

    def _epoch(self) -> None:
        plan, position = self.plan, self.position
        # Validation went back to the mode of all.
        self.trainee.begin_training()
        begin = position.step - position.epoch * plan.batches.steps
        with closing(plan.batches.epoch(position.epoch, begin)) as batches:
            self._take_steps(batches)
        self._note(self.steps.look())
        self._end_epoch()

    def _take_steps(self, batches: Iterator[list[Batch]]) -> None:
        plan, position = self.plan, self.position
        while True:
            begun = time.perf_counter()
            parts = next(batches, None)
            ready = time.perf_counter()
            if parts is None:
                break
            self._note(self.steps.take(position.step, parts))
            if self.average is not None:
                self.average.update(self.trainee.module, position.step)
            position.step += 1
            self.meter.waited += ready - begun
            self.meter.busy += time.perf_counter() - begun
            self.meter.taken += 1
            if position.step % plan.run.log_every == 0:
                self._log_steps()
            if self.progress is not None:
                self.progress(position.step, self.total)
            every = plan.run.checkpoint_every
            if every and position.step % every == 0 and position.step % plan.batches.steps:
                self._note(self.steps.look())
                self._store()

    def _end_epoch(self) -> None:
        plan, position = self.plan, self.position
        record: dict[str, Any] = {"kind": "epoch", "epoch": position.epoch + 1, "step": position.step}
        record["loss"] = self._mean(position.loss)
        if plan.validation is not None:
            counts = self._validate(plan.validation)
            tasks = tuple(map(metrics_of, counts))
            record |= position.judge(tasks, plan.training, lambda: self._keep(counts))
        position.end_epoch(record)
        self._write(record)
        self._store()

    def _validate(self, dataset: Dataset[Any]) -> tuple[Counts, ...]:
        plan, trainee = self.plan, self.trainee
        # Processes may have different numbers of batches of a stream; then none waits for the others.
        module = trainee.module if isinstance(dataset, IterableDataset) else trainee.prepared
        size = plan.batches.part_size

        def counted() -> tuple[Counts, ...]:
            return evaluate(module, dataset, plan.classes, trainee.engine, batch_size=size, workers=plan.run.workers)

        if self.average is None:
            return counted()
        with self.average.applied(trainee.module):
            return counted()

    def _keep(self, counts: tuple[Counts, ...]) -> None:
        state = self.average.state if self.average is not None else self.trainee.module.state_dict()
        weights = whole(state)
        if self.main:
            self.keep(weights, self.position.step, counts)

    def _store(self) -> None:
        store(
            self.plan.folder / CHECKPOINTS,
            self.trainee,
            self.average,
            self.position,
            self.plan.config,
            keep=self.plan.run.keep_last,
        )

    def _note(self, taken: list[Taken]) -> None:
        for one in taken:
            self.position.add_loss(one.loss)
        self.recent += taken

    def _log_steps(self) -> None:
        if not self.recent:
            return
        loss = self._mean(sum(one.loss for one in self.recent) / len(self.recent))
        last = self.recent[-1]
        speed = self._speed()
        record = {
            "kind": "step",
            "step": last.step + 1,
            "epoch": self.position.epoch + 1,
            "loss": loss,
            "learning_rate": self.plan.training.learning_rate * self.schedule(last.step),
            "samples_per_second": speed.samples_per_second,
            "input_wait": speed.input_wait,
        }
        # In float16 a gradient may overflow, and its step is skipped; JSON has no word for it.
        if last.norm < float("inf"):
            record["gradient_norm"] = last.norm
        self.recent = []
        self._write(record)

    def _mean(self, number: float) -> float:
        """Return the mean of a number over the processes; all have to ask."""
        engine = self.trainee.engine
        if engine.num_processes == 1:
            return number
        # float64 on every device but Apple's, which has no processes.
        return float(engine.reduce(torch.tensor(number, dtype=torch.float64, device=engine.device), "mean"))

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.write(record)
            if self.listener is not None:
                self.listener(record)
