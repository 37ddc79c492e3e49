"""How much of the training of a tail there is time for."""

from time import perf_counter

from .fit import ROUNDS, SMOOTHING, Course, OutOfTime

# Learning rates tried, as multiples of the highest that goes well from the first step on. One that rises slowly may go
# beyond it (Lewkowycz et al. 2020, "The large learning rate phase of deep learning").
SHARES: tuple[float, ...] = (4.0, 1.0)
# Fewer rounds than these are no training.
LEAST_ROUNDS = 4
# What predicting the held-out samples takes on top of the steps, and how much of the time left is planned for.
_EVALUATION, _PLANNED = 1.25, 0.9


def courses(
    rate: float, step: float, steps: int, folds: int, deadline: float | None, *, everything: bool = True
) -> tuple[Course, ...]:
    """Choose how to train, as thoroughly as there is time for.

    Args:
        rate: The highest learning rate that goes well from the first step on.
        step: Seconds of a step.
        steps: Steps of a round of all samples.
        folds: Folds that are held out in turn.
        deadline: When all must be done, by `time.perf_counter`; None for never.
        everything: Whether all classes are trained on. Others keep their logits, and would win against smoothed ones.

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
    smoothing = SMOOTHING if everything else 0.0
    return tuple(Course(share * rate, rounds, smoothing=smoothing) for share in shares)


def seconds(step: float, steps: int, folds: int, tried: int, rounds: int) -> float:
    """Return about how long it takes: every fold is trained without for each course, and then all of them."""
    return _EVALUATION * step * steps * rounds * (tried * (folds - 1) + 1)
