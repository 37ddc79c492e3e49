"""What a regressor returns: predictions, and the report of an adaptation."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .choice import RidgeTrial
from .guard import RegressionJudgement
from .head import Float32

if TYPE_CHECKING:
    from .adaptation import RegressionCandidate


@record(eq=False)
class Regression:
    """Predictions for ``n`` frames.

    Args:
        values: ``(n, t) float32``.
        targets: Names of the ``t`` columns.
        interval: ``(n, t) float32`` half-width of an interval that covers nine of ten samples of the place where the
            head was adapted; None where too few samples tell.
    """

    values: Float32
    targets: tuple[str, ...]
    interval: Float32 | None = None


@record()
class TargetChange:
    """What a candidate changes for one target, on held-out samples.

    Args:
        name: The target.
        rmse_before: Root mean squared error of the head in use until then, in the target's unit; NaN without one.
        rmse_after: That of the candidate.
        r2_before: Share of the target's variance that the head in use until then explains; NaN without one.
        r2_after: That of the candidate.
    """

    name: str
    rmse_before: float
    rmse_after: float
    r2_before: float
    r2_after: float


@record()
class RegressionReport:
    """The outcome of one adaptation.

    Args:
        applied: Whether the candidate is the current head now.
        version: Number of the version in use after it; 0 is the shipped head.
        judgement: What the guard says.
        reason: Why it was applied or not, in words.
        targets: Target by target.
        samples: Samples with a label that it was fitted on.
        source_before: Share of the variance of the source's targets that follows from the shipped head, but for an
            offset and a scale; NaN where that is not known.
        source_after: That of the candidate.
        chosen: The setting chosen.
        trials: Every setting tried, best first.
        seconds: Wall time in seconds.
    """

    applied: bool
    version: int
    judgement: RegressionJudgement
    reason: str
    targets: tuple[TargetChange, ...]
    samples: int
    source_before: float
    source_after: float
    chosen: RidgeTrial
    trials: tuple[RidgeTrial, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; NaN and infinity become None."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return plain

    def __str__(self) -> str:
        """One line: verdict, figures and reason."""
        verdict = "applied" if self.applied else "not applied"
        source = self.chosen.setting.source_weight
        head = f"ridge, source weight {source:g}" if source else "ridge"
        errors = ", ".join(f"{t.name} {t.rmse_before:.4g} -> {t.rmse_after:.4g}" for t in self.targets[:5])
        return f"{verdict} ({head}): error of {errors} on {self.samples} samples. {self.reason}"


def report_of(
    candidate: "RegressionCandidate", names: tuple[str, ...], *, applied: bool, version: int, seconds: float
) -> RegressionReport:
    """Assemble the report of a candidate that was applied or not."""
    judgement, reason = candidate.judgement, candidate.judgement.reason
    if judgement.verdict == "insufficient":
        reason += " Applied all the same." if applied else " The head in use stays."
    nothing = np.full(len(names), np.nan)
    before, after = candidate.before, candidate.after
    figures: list[NDArray[np.float64]] = [nothing if before is None else before.rmse, after.rmse]
    figures += [nothing if before is None else before.r2, after.r2]
    source = candidate.source or (float("nan"), float("nan"))
    changes = tuple(TargetChange(name, *(float(figure[i]) for figure in figures)) for i, name in enumerate(names))
    trials, samples = candidate.choice.trials, len(candidate.head.judged)
    return RegressionReport(
        applied, version, judgement, reason, changes, samples, *source, candidate.choice.best, trials, seconds
    )
