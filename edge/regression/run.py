"""One run of `Regressor.adapt`: from the store to a candidate, its judgement, and a new version."""

import json
import time
from collections.abc import Callable
from typing import Literal

from ...record import record
from ..adaptation import attempt
from ..adaptation.attempt import served
from ..adaptation.blas import threads_for
from ..adaptation.wishes import Wishes, check_wishes, sample_weights
from ..heads.problem import Float64
from ..store.samples import StoredSamples
from .adaptation import RegressionCandidate, ShippedRegression, adapt
from .head import RegressionHead
from .results import RegressionReport, report_of
from .ridge import Ridge
from .source import RegressionSource
from .task import RegressionSession

Progress = Callable[[int, int], None]
# All of the source's variance.
WHOLE = 1.0


@record(eq=False)
class Situation:
    """What an adaptation starts from, as it stood at one moment.

    Args:
        samples: The labelled samples.
        y: ``(n, t)`` their targets.
        shipped: What the bundle brings along.
        current: The head that the candidate is compared with, or None.
        version: Its number.
    """

    samples: StoredSamples
    y: Float64
    shipped: ShippedRegression
    current: RegressionHead | None
    version: int


def run(session: RegressionSession, wishes: Wishes[Ridge], progress: Progress | None = None) -> RegressionReport:
    """Choose, fit and judge a head, and use it if it is no worse. See `Regressor.adapt`."""
    check_wishes(wishes, WHOLE)
    return attempt.run(session, lambda version: _attempt(session, version, wishes, progress), wishes.on_insufficient)


def refit(session: RegressionSession) -> None:
    """After forgetting: put to use what a regressor that never saw the forgotten samples would have."""
    attempt.refit(session, lambda version: _attempt(session, version, Wishes()))


def situation(session: RegressionSession, version: int) -> Situation:
    """Read what an adaptation starts from, in one piece.

    Args:
        session: The opened regressor.
        version: The version to compare with; if it cannot be read, what serves in its place.
    """
    with session.store.reading():
        source = session.bundle.source(session.runtime)
        shipped = ShippedRegression(
            session.code, session.shipped_head, None if source is None else RegressionSource.from_arrays(source)
        )
        head = served(session, version)
        samples, y = session.store.measured(len(session.bundle.manifest.classes))
        return Situation(samples, y, shipped, None if head is None else head.head, version)


def propose(
    session: RegressionSession, now: Situation, wishes: Wishes[Ridge], progress: Progress | None = None
) -> RegressionCandidate:
    """Make a candidate and judge it; nothing is stored."""
    if wishes.max_seconds is not None or wishes.max_memory_mb is not None:
        from ..adaptation.budget import check_budget
        from .budget import need

        check_budget(need(session, len(now.samples.ids)), wishes.max_seconds, wishes.max_memory_mb)
    with threads_for(*now.samples.codes.shape):
        return adapt(
            now.samples,
            now.y,
            now.shipped,
            now.current,
            wishes.only,
            progress,
            sample_weight=sample_weights(wishes, now.samples.ids),
            max_forgetting=wishes.max_forgetting,
            deadline=None if wishes.max_seconds is None else time.perf_counter() + wishes.max_seconds,
            names=session.bundle.manifest.classes,
        )


def last_setting(session: RegressionSession) -> Ridge | None:
    """Return the setting that the version in use was fitted with; None for the shipped head, or one of an update."""
    kept = attempt.kept_setting(session)
    if kept is None:
        return None
    # JSON knows no infinity.
    strength = float("inf") if kept["strength"] is None else float(kept["strength"])
    return Ridge(strength, float(kept["source_weight"]), kept["prior"])


@record(eq=False)
class _Attempt:
    """A candidate with what it started from. See `attempt.Attempt`."""

    session: RegressionSession
    now: Situation
    candidate: RegressionCandidate

    @property
    def version(self) -> int:
        return self.now.version

    @property
    def verdict(self) -> Literal["accepted", "rejected", "insufficient"]:
        return self.candidate.judgement.verdict

    def report(self, *, applied: bool, seconds: float) -> RegressionReport:
        names = self.session.bundle.manifest.classes
        return report_of(self.candidate, names, applied=applied, version=self.version, seconds=seconds)

    def commit(self, report: RegressionReport) -> tuple[int, RegressionReport] | None:
        plain = report.to_dict()
        figures = {name: plain[name] for name in ("judgement", "reason", "targets", "samples", "seconds")}
        kept = json.dumps({"summary": str(report), "setting": plain["chosen"]["setting"], **figures})
        version = self.session.commit(kept, self.candidate.head.to_bytes(), self.candidate.head.judged)
        return None if version is None else (version, report)


def _attempt(
    session: RegressionSession, version: int, wishes: Wishes[Ridge], progress: Progress | None = None
) -> _Attempt:
    now = situation(session, version)
    return _Attempt(session, now, propose(session, now, wishes, progress))
