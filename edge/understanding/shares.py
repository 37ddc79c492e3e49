"""Shares of samples with their intervals: what a figure of a few samples can and cannot say."""

import math

from ...record import record


@record()
class Share:
    """A share of some samples.

    Args:
        hits: Samples that count.
        samples: Samples that could.
    """

    hits: int
    samples: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; NaN of no samples: it is not known, which is not 0."""
        return self.hits / self.samples if self.samples else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, 0 to 1: all of it where there are no samples.

        References:
            Wilson 1927, "Probable inference, the law of succession, and statistical inference".
        """
        n, z = self.samples, 1.959963984540054
        if not n:
            return 0.0, 1.0
        middle = (self.hits + z**2 / 2) / (n + z**2)
        half = z / (n + z**2) * math.sqrt(self.hits * (n - self.hits) / n + z**2 / 4)
        return max(0.0, middle - half), min(1.0, middle + half)
