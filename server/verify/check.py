"""One thing that is known of a method, and whether it holds."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import AcclimateError

# Returns what is expected and what is found.
Compute = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Check:
    """One thing that is known of a method.

    Args:
        method: Which method.
        claim: What is known.
        source: Where from: a paper, a definition, another library.
        compute: Returns the value that is expected, and the one found.
        tolerance: How far the two may be apart.
        digits: Decimals of a published value, all of which must be met; None where the tolerance counts.
    """

    method: str
    claim: str
    source: str
    compute: Compute
    tolerance: float = 0.0
    digits: int | None = None


@dataclass(frozen=True)
class Outcome:
    """A check, carried out.

    Args:
        check: What was checked.
        expected: The value expected; NaN if it could not be computed.
        found: The value found; likewise.
        holds: Whether they agree.
        seconds: Processor time that it took.
        note: What went wrong, if nothing could be computed.
    """

    check: Check
    expected: float
    found: float
    holds: bool
    seconds: float
    note: str = ""

    @property
    def shown(self) -> tuple[str, str, str]:
        """Expected, found and tolerance; of a published value in the digits that are printed."""
        digits = self.check.digits
        if digits is not None:
            return f"{self.expected:.{digits}f}", f"{self.found:.{digits}f}", "as printed"
        return f"{self.expected:.6g}", f"{self.found:.6g}", f"{self.check.tolerance:.0e}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; None for a value that is not a finite number."""
        return {
            "method": self.check.method,
            "claim": self.check.claim,
            "source": self.check.source,
            "expected": self.expected if math.isfinite(self.expected) else None,
            "found": self.found if math.isfinite(self.found) else None,
            "tolerance": self.check.tolerance if self.check.digits is None else None,
            "digits": self.check.digits,
            "holds": self.holds,
            "seconds": round(self.seconds, 3),
            "note": self.note,
        }


def run_checks(checks: Sequence[Check], progress: Callable[[int, int], None] | None = None) -> tuple[Outcome, ...]:
    """Carry out checks, each to its end whatever the others do.

    Args:
        checks: In the order in which they are carried out.
        progress: Told after each.

    Returns:
        What came out, in their order. A check in which a method fails does not hold, and its note says how.
    """
    outcomes = []
    for done, check in enumerate(checks, 1):
        outcomes.append(_carried_out(check))
        if progress is not None:
            progress(done, len(checks))
    return tuple(outcomes)


def _carried_out(check: Check) -> Outcome:
    start = time.process_time()
    try:
        expected, found = check.compute()
    except Exception as error:
        # Whatever a broken method raises: the others are still to be checked.
        told = str(error) if isinstance(error, AcclimateError) else f"{type(error).__name__}: {error}"
        return Outcome(check, math.nan, math.nan, False, time.process_time() - start, told)
    if check.digits is None:
        # A comparison with NaN is false: such a check does not hold.
        holds = bool(abs(expected - found) <= check.tolerance)
    else:
        holds = f"{expected:.{check.digits}f}" == f"{found:.{check.digits}f}"
    return Outcome(check, float(expected), float(found), holds, time.process_time() - start)


def published(method: str, claim: str, source: str, value: str, compute: Callable[[], float]) -> Check:
    """Return the check of a published value, which must be met in every digit printed.

    Args:
        method: See `Check`.
        claim: Likewise.
        source: Likewise.
        value: As printed.
        compute: Returns the value.
    """
    return Check(method, claim, source, lambda: (float(value), compute()), digits=len(value.partition(".")[2]))


def distance(found: object, expected: object) -> tuple[float, float]:
    """Return 0 and the greatest difference between two arrays: what a check of arrays expects and finds."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape:
        return 0.0, math.nan
    return 0.0, float(np.abs(a - b).max())
