"""The training loop of a Keras model: epochs of `model.fit`, with validation, checkpoints and logs between them."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice, pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import TrainingError
from ..training.batches import Batch
from ..training.divergence import warn_of_growth
from ..training.evaluate import evaluate
from ..training.logs import Log
from ..training.loop import Listener, Progress
from ..training.metrics import Counts, metrics_of
from ..training.plan import Meter, Plan, Speed
from ..training.position import CHECKPOINTS, Position
from ..training.schedule import make_schedule
from ..training.workers import deaths_told
from .inputs import inputs_of
from .kept import KerasKept
from .logits import KerasLogits, OneTask, ask_logits
from .position import restore, store
from .process import KerasProcess

if TYPE_CHECKING:
    from accelerate import Accelerator

# Batches on their way; Keras looks at two before it begins.
_AHEAD = 3


class KerasLoop:
    """Trains until the last epoch, or until patience is at its end.

    Args:
        process: Holds the model.
        plan: How, on what, and where to.
        kept: Keeps the best weights.
        engine: Of this process.
        progress: Called with steps done and steps in total.
        listener: Called with every record of the log.
    """

    def __init__(
        self,
        process: KerasProcess,
        plan: Plan,
        kept: KerasKept,
        engine: "Accelerator",
        progress: Progress | None,
        listener: Listener | None,
    ) -> None:
        self.process, self.plan, self.kept, self.engine = process, plan, kept, engine
        self.progress, self.listener = progress, listener
        self.total = plan.batches.steps * plan.training.epochs
        self.schedule = make_schedule(plan.training.schedule, self.total, plan.training.warmup)
        self.logits = OneTask(KerasLogits(partial(ask_logits, process)))
        self.position = Position()
        self.recent: list[float] = []
        self.meter = Meter()
        self.log: Log | None = None

    def run(self, *, resume: bool) -> Speed:
        """Train, from the newest checkpoint in the folder where that is asked for and there is one.

        Raises:
            TrainingError: If a loss is not finite, memory or disk are full, or the checkpoint is of another run.
        """
        plan, training = self.plan, self.plan.training
        if resume:
            self.position = restore(self.process, plan.folder / CHECKPOINTS, plan.config)
        with deaths_told(plan.run.workers), self._opened_log() as self.log:
            while self.position.epoch < training.epochs and not self.position.patience_ended(training.patience):
                self._epoch()
            if plan.validation is None:
                self._keep(())
        warn_of_growth(self.position.epochs)
        return self._speed()

    def _opened_log(self) -> Log:
        return Log(self.plan.folder, step=self.position.step, tensorboard=self.plan.run.tensorboard)

    def _speed(self) -> Speed:
        return self.meter.speed(self.plan.batches.batch_size)

    def _epoch(self) -> None:
        plan, position = self.plan, self.position
        begin = position.epoch * plan.batches.steps
        stops = self._stops(begin)
        with closing(plan.batches.epoch(position.epoch, position.step - begin)) as batches:
            for first, last in pairwise(stops):
                self._fit(first, islice(batches, last - first), last - first)
                if last < stops[-1]:
                    store(self.process, plan.folder / CHECKPOINTS, position, plan.config, keep=plan.run.keep_last)
        self._end_epoch()

    def _stops(self, begin: int) -> list[int]:
        """Return the steps that this epoch is taken in: from here to each checkpoint, and to its end."""
        here, end, every = self.position.step, begin + self.plan.batches.steps, self.plan.run.checkpoint_every
        between = range((here // every + 1) * every, end, every) if every else ()
        return [here, *between, end]

    def _fit(self, first: int, batches: Iterator[list[Batch]], count: int) -> None:
        plan, training = self.plan, self.plan.training
        rates = np.array([training.learning_rate * self.schedule(first + i) for i in range(count)], np.float64)
        self.process.send("fit", {"rates": rates})
        sent: deque[list[Any]] = deque()
        begun = time.perf_counter()
        for step in range(first, first + count):
            waiting = time.perf_counter()
            (part,) = next(batches)
            self.meter.waited += time.perf_counter() - waiting
            self.process.send("batch", inputs_of(step, part, training, plan.classes[0]))
            sent.append(list(part[2]))
            if len(sent) >= _AHEAD:
                begun = self._taken(sent.popleft(), begun)
        while sent:
            begun = self._taken(sent.popleft(), begun)
        self._answer("fitted")

    def _taken(self, keys: list[Any], begun: float) -> float:
        """Take in what the next step gave; return the time."""
        plan, position = self.plan, self.position
        values = self._answer("step").values
        loss, norm = float(values["loss"]), float(values["norm"])
        if not (isfinite(loss) and isfinite(norm)):
            raise TrainingError(self._not_finite(loss, norm, keys))
        position.step += 1
        position.add_loss(loss)
        self.recent.append(loss)
        now = time.perf_counter()
        self.meter.busy += now - begun
        self.meter.taken += 1
        if position.step % plan.run.log_every == 0:
            self._log_steps(norm)
        if self.progress is not None:
            self.progress(position.step, self.total)
        return now

    def _end_epoch(self) -> None:
        plan, position = self.plan, self.position
        record: dict[str, Any] = {"kind": "epoch", "epoch": position.epoch + 1, "step": position.step}
        record["loss"] = position.loss
        if plan.validation is not None:
            self.process.ask("swap", averaged=True)
            counts = evaluate(
                self.logits,
                plan.validation,
                plan.classes,
                self.engine,
                batch_size=plan.batches.part_size,
                workers=plan.run.workers,
            )
            tasks = tuple(map(metrics_of, counts))
            record |= position.judge(tasks, plan.training, lambda: self._keep(counts))
            self.process.ask("swap", averaged=False)
        position.end_epoch(record)
        self._write(record)
        store(self.process, plan.folder / CHECKPOINTS, position, plan.config, keep=plan.run.keep_last)

    def _keep(self, counts: tuple[Counts, ...]) -> None:
        self.process.ask("swap", averaged=True)
        self.kept.keep(self._save, self.position.step, counts, self.process.tools)

    def _save(self, file: Path) -> None:
        self.process.ask("save", file=str(file.absolute()))

    def _answer(self, kind: str) -> Any:
        message = self.process.receive()
        if message.kind != kind:
            raise TrainingError(f"expected {kind!r} from TensorFlow's process, found {message.kind!r}. Resume.")
        return message

    def _log_steps(self, norm: float) -> None:
        speed = self._speed()
        self._write(
            {
                "kind": "step",
                "step": self.position.step,
                "epoch": self.position.epoch + 1,
                "loss": sum(self.recent) / len(self.recent),
                "learning_rate": self.plan.training.learning_rate * self.schedule(self.position.step - 1),
                "samples_per_second": speed.samples_per_second,
                "input_wait": speed.input_wait,
                "gradient_norm": norm,
            }
        )
        self.recent = []

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.write(record)
            if self.listener is not None:
                self.listener(record)

    def _not_finite(self, loss: float, norm: float, keys: list[Any]) -> str:
        names = ", ".join(self.plan.name_of(key) for key in keys[:4])
        return (
            f"expected a finite loss and gradient, found loss {loss} and gradient norm {norm} in step "
            f"{self.position.step + 1} (samples {names}{', ...' if len(keys) > 4 else ''}). Nothing was written since "
            f"the last checkpoint. Lower training.learning_rate of {self.plan.training.learning_rate:g} or mend these "
            f"samples, and begin anew in another folder."
        )
