"""What a learner returns: predictions, reports of adaptations, entries of the history."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import Judgement
from .head import Float32
from .selection import Trial


@dataclass(frozen=True)
class Report:
    """The outcome of one adaptation.

    Args:
        applied: Whether the candidate is the current head now.
        version: Number of the version in use after it; 0 is the shipped head.
        judgement: What the guard says.
        reason: Why it was applied or not, in words.
        before: Class-balanced accuracy of the head in use until then, on the held-out samples compared; NaN if there is
            nothing to compare.
        after: That of the candidate, on the same samples, each predicted without it.
        samples: Labelled samples it was fitted on.
        unjudged: Names of classes without a labelled sample: kept, but nothing here says how well they are known now.
        classes: Names of the classes of the candidate.
        chosen: The setting chosen.
        trials: Every setting tried, best first.
        folds: Folds of the cross-validation.
        seconds: Wall time in seconds.
    """

    applied: bool
    version: int
    judgement: Judgement
    reason: str
    before: float
    after: float
    samples: int
    unjudged: tuple[str, ...]
    classes: tuple[str, ...]
    chosen: Trial
    trials: tuple[Trial, ...]
    folds: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; NaN becomes None."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return plain

    def __str__(self) -> str:
        """One line: verdict, figures and reason."""
        verdict = "applied" if self.applied else "not applied"
        source = self.chosen.setting.source_weight
        head = f"{self.chosen.setting.head}, source weight {source:g}" if source else self.chosen.setting.head
        return f"{verdict} ({head}): {self.before:.3f} -> {self.after:.3f} on {self.samples} samples. {self.reason}"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions for ``n`` frames.

    Args:
        labels: ``(n,)`` class names.
        probabilities: ``(n, k) float32``; rows add up to 1.
        classes: Names of the ``k`` columns.
    """

    labels: NDArray[np.str_]
    probabilities: Float32
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """One entry of the history.

    Args:
        number: Its number; 0 is the shipped head.
        current: Whether it is in use.
        time: When it was made, in seconds since 1970; 0 for the shipped head.
        summary: What it is, in words.
    """

    number: int
    current: bool
    time: float
    summary: str
