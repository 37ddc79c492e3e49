"""What `Learner.adapt` returns."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ...record import record
from ..head import Ids
from .calibration import calibration_error
from .guard import Judgement
from .probe import ProbeReport
from .selection import Trial

if TYPE_CHECKING:
    from .adapt import Candidate


@record()
class TailReport:
    """What training the last blocks brought.

    Args:
        used: Whether the tail did better than the best head by more than chance explains, and so took its place.
        reason: Why, or why not, in words.
        before: Class-balanced accuracy of the best head on held-out samples; NaN where there was no comparison.
        after: That of the tail, on the same samples, each predicted without it.
        rate: Learning rate that the tail is trained with at first.
        rounds: Rounds that it is trained for.
        seconds: Wall time in seconds that it took.
    """

    used: bool
    reason: str
    before: float = float("nan")
    after: float = float("nan")
    rate: float = float("nan")
    rounds: int = 0
    seconds: float = 0.0


@record()
class Report:
    """The outcome of one adaptation.

    Args:
        applied: Whether the candidate is the current head now.
        version: Number of the version in use after it; 0 is the shipped head.
        judgement: What the guard says.
        reason: Why it was applied or not, in words.
        before: Class-balanced accuracy of the head in use until then, on the held-out samples compared, by the weights
            that were asked for; NaN if there is nothing to compare.
        after: That of the candidate, on the same samples, each predicted without it.
        samples: Labelled samples it was fitted on.
        unjudged: Names of classes without a labelled sample: kept, but nothing here says how well they are known now.
        classes: Names of the classes of the candidate.
        chosen: The setting chosen.
        trials: Every setting tried, best first.
        folds: Folds of the cross-validation.
        seconds: Wall time in seconds.
        probe: What is kept of the source, asked of samples drawn from its statistics; None without these.
        curve: Training samples and held-out accuracy of the setting chosen, from few to all; empty where not asked for.
        enough: Whether it is as good here as the shipped head is at home; False where it is well below and more samples
            hardly help: then the last blocks are worth training, not only the head. None where that is open.
        calibration: Expected calibration error of held-out probabilities without a temperature and with it; NaN where
            nothing could be held out.
        unknown: Whether frames unlike every class are told from now on.
        tail: What training the last blocks brought; None where it was not tried.
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
    probe: ProbeReport | None = None
    curve: tuple[tuple[int, float], ...] = ()
    enough: bool | None = None
    calibration: tuple[float, float] = (float("nan"), float("nan"))
    unknown: bool = False
    tail: TailReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON; NaN becomes None."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return plain

    def __str__(self) -> str:
        """One line: verdict, figures and reason."""
        verdict = "applied" if self.applied else "not applied"
        source = self.chosen.setting.source_weight
        head = f"{self.chosen.setting.head}, source weight {source:g}" if source else self.chosen.setting.head
        if self.tail is not None and self.tail.used:
            head = f"tail, {self.tail.rounds} rounds"
        return f"{verdict} ({head}): {self.before:.3f} -> {self.after:.3f} on {self.samples} samples. {self.reason}"


def report_of(
    candidate: "Candidate",
    names: dict[int, str],
    truth: Ids,
    *,
    applied: bool,
    version: int,
    seconds: float,
    tail: TailReport | None = None,
) -> Report:
    """Assemble the report of a candidate that was applied or not.

    Args:
        candidate: The candidate.
        names: Class names by id.
        truth: ``(n,)`` class ids of the labelled samples.
        applied: Whether it is put to use.
        version: Number of the version in use.
        seconds: Wall time until now.
        tail: What training the last blocks brought, if it was tried.

    Returns:
        The report.
    """
    judgement, reason = candidate.judgement, candidate.judgement.reason
    if judgement.verdict == "insufficient":
        reason += " Applied all the same." if applied else " The head in use stays."
    unjudged = tuple(names[int(i)] for i in candidate.unseen)
    if unjudged:
        reason += f" No sample tells how well it knows {', '.join(unjudged[:5])} here."
    used = tail is not None and tail.used
    if tail is not None and used:
        reason += (
            f" The last blocks were trained: {100 * (tail.after - tail.before):+.1f} points over the best head. What "
            f"they keep of the source cannot be asked without its maps; they were held near the shipped ones."
        )
    elif tail is not None:
        reason += f" {tail.reason}"
    elif candidate.enough is False:
        reason += " It stays well below the source, and more samples hardly help: training the last blocks may."
    return Report(
        applied=applied,
        version=version,
        judgement=judgement,
        reason=reason,
        before=candidate.before,
        after=candidate.after,
        samples=len(truth),
        unjudged=unjudged,
        classes=tuple(names[int(i)] for i in candidate.head.classes),
        chosen=candidate.selection.best,
        trials=candidate.selection.trials,
        folds=candidate.selection.folds,
        seconds=seconds,
        probe=candidate.probe,
        curve=candidate.curve,
        enough=candidate.enough,
        calibration=(float("nan"), float("nan")) if used else _calibration(candidate, truth),
        tail=tail,
    )


def _calibration(candidate: "Candidate", truth: Ids) -> tuple[float, float]:
    """Return the calibration error of held-out probabilities at temperature 1 and at the one chosen."""
    selection, ids = candidate.selection, candidate.head.classes
    if len(selection.probabilities) != len(truth):
        return float("nan"), float("nan")
    judged = np.isfinite(selection.probabilities).all(axis=1)
    after, y = selection.probabilities[judged], np.searchsorted(ids, truth[judged])
    if not len(y):
        return float("nan"), float("nan")
    powers = selection.temperature[judged, None] * np.log(np.maximum(after, 1e-300))
    before = np.exp(powers - powers.max(axis=1, keepdims=True))
    return calibration_error(before / before.sum(axis=1, keepdims=True), y), calibration_error(after, y)
