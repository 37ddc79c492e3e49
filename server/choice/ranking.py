"""What a ranking found: each source's scores and place, and how far the measures agree."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...edge.choice.expected_accuracy import ExpectedAccuracy

# In the order in which they are shown. `accuracy` is the middle of the estimate.
MEASURES = ("accuracy", "logme", "h_score", "leep", "nce")


@dataclass(frozen=True)
class Ranked:
    """One source.

    Args:
        name: As it was given.
        place: 1 for the best; sources with equal mean ranks share a place.
        mean_rank: Mean of its ranks by the measures that count.
        scores: Each measure that it has, higher better; `accuracy` is the middle of `expected`.
        ranks: Its rank among the sources that have a measure, 1 for the highest.
        expected: The accuracy to expect of a head adapted to the samples.
        as_shipped: Accuracy of its own head on the samples, where that knows all their classes; else None.
        width: Dimensions of its latents.
        notes: What a reader should know.
    """

    name: str
    place: int
    mean_rank: float
    scores: Mapping[str, float]
    ranks: Mapping[str, float]
    expected: ExpectedAccuracy
    as_shipped: float | None
    width: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        e = self.expected
        return {
            "source": self.name,
            "place": self.place,
            "mean_rank": self.mean_rank,
            "expected_accuracy": {"accuracy": e.accuracy, "low": e.low, "high": e.high, "level": 0.95},
            "as_shipped": self.as_shipped,
            "scores": dict(self.scores),
            "ranks": dict(self.ranks),
            "width": self.width,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Ranking:
    """Sources from the best to the worst.

    Args:
        sources: The sources.
        counted: Measures that every source has: what the combined rank is of.
        concordance: Kendall's W of these rankings, 0 to 1; NaN for a single source, or where all are ties.
        taus: Kendall's tau-b of each pair of measures over the sources that have both; NaN where one is all ties.
        samples: Number of samples.
        classes: Names of their classes.
        largest_class: Share of the largest class.
        warnings: What should be known before the ranking is followed.
    """

    sources: tuple[Ranked, ...]
    counted: tuple[str, ...]
    concordance: float
    taus: Mapping[tuple[str, str], float]
    samples: int
    classes: tuple[str, ...]
    largest_class: float
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> Ranked:
        """The source that comes first."""
        return self.sources[0]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, with None for what is not a number."""
        return {
            "samples": self.samples,
            "classes": list(self.classes),
            "largest_class": self.largest_class,
            "sources": [source.to_dict() for source in self.sources],
            "counted": list(self.counted),
            "concordance": _number(self.concordance),
            "taus": {f"{a} {b}": _number(tau) for (a, b), tau in self.taus.items()},
            "warnings": list(self.warnings),
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
