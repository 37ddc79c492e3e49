"""What a check of the data found, as errors and warnings that name files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import InputError

Level = Literal["error", "warning"]
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    Args:
        level: Whether training must not begin with it.
        kind: What it is, in a word: unreadable, shape, empty, imbalance, unlabelled, unvalidated, duplicates,
            contradiction or leakage.
        message: What was found and what to do.
        names: The files, rows, classes or groups concerned; at most a thousand.
    """

    level: Level
    kind: str
    message: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class DataReport:
    """What a check of the data found.

    Args:
        samples: Samples to train on, and to validate on.
        counts: By class of the first task: samples to train on, and to validate on.
        findings: Errors first.
        contents: Hash of the content of all samples of each part, in their order; the same content has the same hash.
    """

    samples: tuple[int, int]
    counts: dict[str, tuple[int, int]]
    findings: tuple[Finding, ...]
    contents: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What training must not begin with."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may be meant."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    def require_sound(self) -> None:
        """Refuse data with errors.

        Raises:
            InputError: If there are any; the message tells all of them, a single one by itself.
        """
        if self.errors:
            if len(self.errors) == 1:
                raise InputError(self.errors[0].message)
            told = "\n".join(f"  {finding.message}" for finding in self.errors)
            raise InputError(f"expected data to train on, found {len(self.errors)} errors:\n{told}")


def listed(names: Sequence[str]) -> str:
    """Return the first few names in a row, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
