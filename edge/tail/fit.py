"""Train a tail: the compiled step on batches of stored maps, along a schedule, for as many rounds as are asked for."""

from collections.abc import Callable, Mapping
from math import ceil, cos, isfinite, pi
from time import perf_counter

import numpy as np

from ...record import record
from ..heads.problem import Float64
from .graphs import Float32
from .maps import StoredMaps
from .order import Int64, batches
from .stepper import Stepper

BATCH = 32
# Rounds of a whole schedule. A round is a pass over the samples, but at least and at most so many steps.
ROUNDS, LEAST_STEPS, MOST_STEPS = 20, 16, 256
# What is left of the learning rate at the end of the schedule, and the share of the schedule in which it rises.
_LAST, _RISING = 0.01, 0.15
# Share of a target that is spread over all classes.
SMOOTHING = 0.1
# Strength of the pull to where the training began: moves of .1 in a hundred weights cost a hundredth of a nat.
STRENGTH = 0.02
Parameters = Mapping[str, Float32]


class OutOfTime(Exception):  # noqa: N818  # no error: the training ends
    """The deadline has passed. Nothing outside of this folder sees it."""


class Diverged(Exception):  # noqa: N818  # no error: another rate is tried
    """The learning rate was too high. Nothing outside of this folder sees it."""


@record()
class Course:
    """How a tail is trained.

    Args:
        rate: Scale of the learning rate. It falls from there along half a cosine (Loshchilov and Hutter 2017, "SGDR"),
            but rises from 0 at first (Goyal et al. 2017, "Accurate, Large Minibatch SGD"): what a tail begins with
            bears less than what it comes to.
        rounds: Rounds that the schedule is laid out for.
        strength: Strength of the pull to the parameters of the beginning (L2-SP, or EWC where the bundle has Fisher
            diagonals).
        smoothing: Share of a target that is spread over all classes (Szegedy et al. 2016, "Rethinking the Inception
            Architecture"), since a tail could learn a few samples by heart. What it costs in sureness the temperature
            gives back.
    """

    rate: float
    rounds: int
    strength: float = STRENGTH
    smoothing: float = SMOOTHING

    def at(self, done: float) -> float:
        """Return the learning rate when a share of the schedule is done."""
        falling = _LAST + (1 - _LAST) * (1 + cos(pi * min(done, 1.0))) / 2
        return self.rate * falling * min(done / _RISING, 1.0)


@record(eq=False)
class Lesson:
    """What a tail is trained on.

    Args:
        maps: The maps of all samples.
        rows: ``(n,)`` places of those that it is trained on.
        y: ``(n,)`` their classes, 0 to k - 1.
        weight: ``(n,)`` what each counts, above 0.
        start: Parameters that the training begins with, k rows in the head's; a penalty draws to them.
        fisher: Fisher diagonals in the same shapes, or None.
        seed: Draws the order of the samples.
        deadline: When to stop, by `time.perf_counter`; None for never.
    """

    maps: StoredMaps
    rows: Int64
    y: Int64
    weight: Float32
    start: Parameters
    fisher: Parameters | None = None
    seed: int = 0
    deadline: float | None = None

    @property
    def steps(self) -> int:
        """Steps of a round."""
        return min(max(ceil(len(self.rows) / BATCH), LEAST_STEPS), MOST_STEPS)


def fit_tail(
    stepper: Stepper,
    lesson: Lesson,
    course: Course,
    rounds: int | None = None,
    after: Callable[[int, Parameters], bool] | None = None,
) -> dict[str, Float32]:
    """Train a tail.

    Args:
        stepper: The compiled step, for k classes.
        lesson: The samples.
        course: How.
        rounds: Rounds after which to end; None for all of the schedule.
        after: Called with the number of rounds done and the parameters, in buffers that change; ends the training
            where it returns False. What it raises ends the call.

    Returns:
        The parameters by name. Equal arguments give equal ones on one machine with one number of threads.

    Raises:
        Diverged: If the learning rate is too high.
        OutOfTime: If the deadline passes.
        BackendError: If the step fails.
    """
    stepper.begin(lesson.start, lesson.fisher)
    order, steps = batches(lesson.y, len(stepper.map), (lesson.seed, 1)), lesson.steps
    for done in range(course.rounds if rounds is None else rounds):
        for i in range(steps):
            rate = course.at((done + (i + 0.5) / steps) / course.rounds)
            loss = train_on(stepper, lesson, next(order), rate, course.strength, course.smoothing)
            if not isfinite(loss):
                raise Diverged
        if not all(np.isfinite(values).all() for values in stepper.parameters.values()):
            raise Diverged
        if after is not None and not after(done + 1, stepper.parameters):
            break
    return {name: values.copy() for name, values in stepper.parameters.items()}


def train_on(
    stepper: Stepper, lesson: Lesson, rows: Int64, rate: float, strength: float = 0.0, smoothing: float = 0.0
) -> float:
    """Take one step on some rows of a lesson.

    Returns:
        The loss before the step.

    Raises:
        OutOfTime: If the deadline has passed.
    """
    if lesson.deadline is not None and perf_counter() >= lesson.deadline:
        raise OutOfTime
    stepper.map[...] = lesson.maps.read(lesson.rows[rows])
    stepper.target[...] = smoothing / stepper.target.shape[1]
    stepper.target[np.arange(len(rows)), lesson.y[rows]] += 1 - smoothing
    stepper.weight[...] = lesson.weight[rows]
    return stepper.step(rate, strength)


def balanced(y: Int64, k: int, weight: Float64 | None = None) -> Float32:
    """Return what samples count: a class as much as its mean weight says, however many samples it has.

    Args:
        y: ``(n,)`` classes, 0 to k - 1.
        k: Number of classes.
        weight: ``(n,)`` weights, above 0; None for equal ones.

    Returns:
        ``(n,)``, 1 in the mean.
    """
    given = np.ones(len(y)) if weight is None else weight
    found = given / np.bincount(y, minlength=k)[y]
    result: Float32 = (found / found.mean()).astype(np.float32)
    return result
