"""What `Learner.align` returns."""

import json
from dataclasses import asdict
from typing import Any, Literal

from ...record import record
from ..adaptation.guard import Judgement
from .evidence import Evidence
from .shift import ShiftTest

Method = Literal["auto", "coral", "prototypes", "label-shift"]


@record()
class AlignReport:
    """The outcome of one alignment.

    Args:
        applied: Whether the aligned head is the current one now.
        version: Number of the version in use after it; 0 is the shipped head.
        method: How it was aligned.
        reason: Why it was applied or not, in words.
        samples: Stored samples it was fitted on; their labels, where they have any, were not looked at.
        units: Pieces of evidence that they are: near-duplicates and samples of one tag are one.
        shift: Whether the place differs from the source.
        evidence: What speaks for it without a label; None where a label-shift correction was asked for.
        balance: Share of each class that is estimated here, by name; with the source's mix of classes beside it.
        judgement: What labelled samples say; None where there are none of its classes.
        seconds: Wall time in seconds.
    """

    applied: bool
    version: int
    method: Method
    reason: str
    samples: int
    units: int
    shift: ShiftTest
    evidence: Evidence | None
    balance: dict[str, tuple[float, float]]
    judgement: Judgement | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; NaN and infinity become None, and the balance a list."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        # Names of classes are values, which the store takes out where a class is removed with its name.
        plain["balance"] = [
            {"class": name, "source": home, "here": here} for name, (home, here) in self.balance.items()
        ]
        return plain

    def __str__(self) -> str:
        """One line: verdict and reason."""
        verdict = "aligned" if self.applied else "not aligned"
        return f"{verdict} ({self.method}) without labels, on {self.samples} samples. {self.reason}"
