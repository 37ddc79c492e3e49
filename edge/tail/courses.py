"""How much of the training of a tail there is time for."""

from time import perf_counter

from .fit import ROUNDS, Course, OutOfTime

# Learning rates tried, as shares of the highest that goes well.
SHARES: tuple[float, ...] = (1.0, 0.25)
# Fewer rounds than these are no training.
LEAST_ROUNDS = 4
# What predicting the held-out samples takes on top of the steps, and how much of the time left is planned for.
_EVALUATION, _PLANNED = 1.25, 0.9


def courses(rate: float, step: float, steps: int, folds: int, deadline: float | None) -> tuple[Course, ...]:
    """Choose how to train, as thoroughly as there is time for.

    Args:
        rate: The highest learning rate that goes well.
        step: Seconds of a step.
        steps: Steps of a round of all samples.
        folds: Folds that are held out in turn.
        deadline: When all must be done, by `time.perf_counter`; None for never.

    Returns:
        What to try, the likeliest first.

    Raises:
        OutOfTime: If there is no time for the least.
    """
    shares, rounds = SHARES, ROUNDS
    if deadline is not None:
        left = _PLANNED * (deadline - perf_counter())
        if seconds(step, steps, folds, len(shares), rounds) > left:
            shares = SHARES[:1]
        rounds = min(int(left / seconds(step, steps, folds, len(shares), 1)), ROUNDS)
        if rounds < LEAST_ROUNDS:
            raise OutOfTime
    return tuple(Course(share * rate, rounds) for share in shares)


def seconds(step: float, steps: int, folds: int, tried: int, rounds: int) -> float:
    """Return about how long it takes: every fold is trained without for each course, and then all of them."""
    return _EVALUATION * step * steps * rounds * (tried * (folds - 1) + 1)
