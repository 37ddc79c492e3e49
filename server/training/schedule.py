"""Courses of the learning rate, as shares of its peak: functions of the step alone, so that nothing has to be kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class OneCycle:
    """The learning rate as a share of its peak: a cosine up from 1/25 over 30 % of the steps, a cosine down to 0.

    Args:
        steps: Steps in total.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Return the share, 0 to 1, at a step counted from 0."""
        rise = 0.3 * self.steps
        if step < rise:
            return 1 - 0.96 * (1 + math.cos(math.pi * step / rise)) / 2
        return (1 + math.cos(math.pi * (step - rise) / (self.steps - rise))) / 2


@dataclass(frozen=True)
class WarmUp:
    """A straight rise from 0 to the peak, then a cosine down to 0, or the peak until the end.

    Args:
        steps: Steps in total.
        share: Share of them that rise, 0 to below 1.
        falls: Whether a cosine follows.
    """

    steps: int
    share: float
    falls: bool

    def __call__(self, step: int) -> float:
        """Return the share, 0 to 1, at a step counted from 0."""
        rise = round(self.share * self.steps)
        if step < rise:
            # The first step is no step at a rate of 0.
            return (step + 1) / (rise + 1)
        if not self.falls:
            return 1.0
        return (1 + math.cos(math.pi * (step - rise) / (self.steps - rise))) / 2


def make_schedule(name: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Return the course of that name.

    Args:
        name: ``one-cycle``, ``cosine`` or ``constant``.
        steps: Steps in total.
        warmup: Share of them over which cosine and constant rise.
    """
    return OneCycle(steps) if name == "one-cycle" else WarmUp(steps, warmup, falls=name == "cosine")
