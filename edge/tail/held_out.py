"""What a tail says of samples that it was not trained on, and how long and how fast it is to be trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..adaptation.selection import best_row
from ..adaptation.temperature import best_temperature
from ..distinct import distinct
from ..heads.problem import Float64
from .fit import Course, Diverged, Lesson, Parameters, fit_tail
from .forward import ROWS, Forward
from .graphs import Float32
from .maps import StoredMaps
from .order import Int64
from .stepper import Stepper

# Folds that are held out in turn: those of the heads, put together to as few.
FOLDS = 3
# A fold's training ends when its loss has not fallen for so many rounds of the second half of a schedule: as long as
# the rate is high, the loss is too.
PATIENCE = 6
Bools = NDArray[np.bool_]
# Parameters of the classes that are trained to logits of all of them.
Logits = Callable[[Parameters, Int64], Float32]


@record(eq=False)
class HeldOut:
    """The outcome of holding folds out.

    Args:
        course: How to train.
        rounds: For how many rounds.
        temperature: What the logits must be divided by.
        predicted: ``(n,)`` place of each sample's class as predicted without it, at the rounds and the rate that the
            *other* folds chose; -1 where it was not held out.
    """

    course: Course
    rounds: int
    temperature: float
    predicted: Int64


@record(eq=False)
class Curves:
    """What was found of the held-out samples after each round of each course.

    Args:
        labels: ``(c, r, n)`` predicted places.
        losses: ``(c, r, n)`` cross-entropy in nats, at the best temperature of the fold.
        temperature: ``(c, r, f)`` that temperature, by fold.
    """

    labels: NDArray[np.int32]
    losses: Float32
    temperature: Float64

    @classmethod
    def room(cls, courses: int, rounds: int, n: int, folds: int) -> "Curves":
        """Return room for them."""
        shape = (courses, rounds, n)
        # What did not go well counts as wrong throughout.
        return cls(np.full(shape, -1, np.int32), np.full(shape, _WORST, np.float32), np.ones((courses, rounds, folds)))


_WORST = 10.0


def merged_folds(fold: Int64) -> Int64:
    """Put the heads' folds together to fewer: samples that belong together stay so. -1 stays -1."""
    return np.where(fold < 0, -1, fold * FOLDS // (int(fold.max(initial=0)) + 1))


def hold_out(
    stepper: Stepper,
    lesson_without: Callable[[Int64], Lesson],
    logits: Logits,
    y: Int64,
    fold: Int64,
    weight: Float64,
    tried: Sequence[Course],
    progress: Callable[[int], None],
) -> HeldOut:
    """Train without each fold in turn, and choose course and rounds.

    Args:
        stepper: The compiled step.
        lesson_without: Makes the lesson of some rows.
        logits: Runs the tail on some rows.
        y: ``(n,)`` places of the samples' classes.
        fold: ``(n,)`` their folds, -1 for those that cannot be held out.
        weight: ``(n,)`` weights of the samples in choosing.
        tried: The courses.
        progress: Called with the number of rounds that have come to an end.

    Returns:
        What to do, and the predictions.

    Raises:
        Diverged: If no course goes well.
        OutOfTime: If the deadline passes.
    """
    numbers, rounds = distinct(fold[fold >= 0]), max(course.rounds for course in tried)
    curves = Curves.room(len(tried), rounds, len(y), len(numbers))
    whole, done, failed = np.arange(len(y)), 0, 0
    for f, number in enumerate(numbers):
        held = np.flatnonzero(fold == number)
        lesson = lesson_without(whole[fold != number])
        for c, course in enumerate(tried):
            watch = _Watch(curves, c, f, held, y[held], weight[held], logits, progress, done, course.rounds)
            try:
                fit_tail(stepper, lesson, course, after=watch.look)
                watch.fill()
            except Diverged:
                failed += 1
            done += course.rounds
            progress(done)
    if failed == len(tried) * len(numbers):
        raise Diverged
    return _choose(curves, tried, y, fold, numbers, weight)


@dataclass(eq=False)
class _Watch:
    """Looks at one fold after every round of one course, and says when it is enough."""

    curves: Curves
    course: int
    fold: int
    rows: Int64
    y: Int64
    weight: Float64
    logits: Logits
    progress: Callable[[int], None]
    before: int
    rounds: int
    best: float = float("inf")
    at: int = 0
    seen: int = 0

    def look(self, done: int, parameters: Parameters) -> bool:
        found = self.logits(parameters, self.rows).astype(np.float64)
        temperature, losses = best_temperature(found, self.y, self.weight)
        c, r = self.course, done - 1
        self.curves.labels[c, r, self.rows] = found.argmax(axis=1)
        self.curves.losses[c, r, self.rows] = losses
        self.curves.temperature[c, r, self.fold] = temperature
        self.seen = done
        self.progress(self.before + done)
        loss = float(losses @ self.weight)
        if loss < self.best:
            self.best, self.at = loss, done
        return done - max(self.at, self.rounds // 2) < PATIENCE

    def fill(self) -> None:
        """What was not trained on is taken to have stayed as it was."""
        c, last = self.course, self.seen - 1
        for values in (self.curves.labels, self.curves.losses):
            values[c, self.seen :, self.rows] = values[c, last, self.rows][:, None]
        self.curves.temperature[c, self.seen :, self.fold] = self.curves.temperature[c, last, self.fold]


def _choose(curves: Curves, tried: Sequence[Course], y: Int64, fold: Int64, numbers: Int64, weight: Float64) -> HeldOut:
    """Choose by all folds, and for the predictions of each by the others: neither fit nor choice has seen it."""
    judged = np.flatnonzero(fold >= 0)
    rounds = curves.labels.shape[1]
    labels = curves.labels.reshape(-1, len(y))[:, judged]
    correct, losses = labels == y[judged], curves.losses.reshape(-1, len(y))[:, judged].astype(np.float64)
    part, share = fold[judged], weight[judged]
    winner = best_row(correct, losses, share)
    predicted = np.full(len(y), -1)
    for number in numbers:
        others, held = part != number, part == number
        pick = best_row(correct[:, others], losses[:, others], share[others]) if others.any() else winner
        predicted[judged[held]] = labels[pick, held]
    logs = np.log(curves.temperature.reshape(-1, len(numbers))[winner])
    return HeldOut(tried[winner // rounds], winner % rounds + 1, float(np.exp(logs.mean())), predicted)


def run_rows(forward: Forward, maps: StoredMaps, parameters: Parameters, rows: Int64) -> Float32:
    """Run a tail on some stored maps, ``(m, k)`` logits, a few at a time."""
    parts = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
    return np.concatenate([forward.logits(maps.read(part), parameters) for part in parts])
