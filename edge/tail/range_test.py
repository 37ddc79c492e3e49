"""Which learning rate a tail bears: a few steps, each at a higher one, until the loss says that it is too high."""

from math import isfinite

from .fit import Diverged, Lesson, train_on
from .order import batches
from .stepper import Stepper

# Lowest and highest rate tried, by optimiser, and steps between them.
RATES = {"sgd": (1e-5, 1.0), "adam": (1e-6, 1e-2)}
STEPS = 60
# A step says little of the loss: it counts for so much of the running mean.
_SHARE = 0.3
# The rate is too high when the loss is so much above the least, in nats and as a factor.
_MORE, _TIMES = 0.1, 1.5
# What is below that rate by this factor is safe for a whole training: momentum shows what is too high some steps late.
SAFE = 2.0


def learning_rate(stepper: Stepper, lesson: Lesson) -> float:
    """Return about the highest learning rate at which a training goes well.

    After Smith 2017, "Cyclical Learning Rates for Training Neural Networks": the rate rises from step to step until the
    loss says that it is too high. Only training samples are asked.

    Args:
        stepper: The compiled step.
        lesson: The samples.

    Returns:
        The rate.

    Raises:
        Diverged: If the loss is not finite at the beginning.
        OutOfTime: If the deadline passes.
        BackendError: If the step fails.
    """
    low, high = RATES[stepper.spec.optimiser]
    order = batches(lesson.y, len(stepper.map), (lesson.seed, 0))
    stepper.begin(lesson.start, lesson.fisher)
    total = norm = 0.0
    least, rate = float("inf"), low
    for i in range(STEPS):
        rate = low * (high / low) ** (i / (STEPS - 1))
        loss = train_on(stepper, lesson, next(order), rate)
        if not isfinite(loss):
            if not i:
                raise Diverged
            break
        total, norm = total * (1 - _SHARE) + loss * _SHARE, norm * (1 - _SHARE) + _SHARE
        least = min(least, total / norm)
        if total / norm > _TIMES * least + _MORE:
            break
    return rate / SAFE
