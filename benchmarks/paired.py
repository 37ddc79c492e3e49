"""Paired differences and their 95 % interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t


@dataclass(frozen=True)
class Paired:
    """A mean of paired differences.

    Args:
        mean: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def paired(differences: ArrayLike) -> Paired:
    """Return the mean of differences, one for each independent draw, and its 95 % interval by Student's t."""
    given = np.asarray(differences, np.float64)
    n, mean = len(given), float(given.mean())
    half = float(t.ppf(0.975, n - 1) * given.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Paired(mean, mean - half, mean + half)
