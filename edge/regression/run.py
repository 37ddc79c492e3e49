"""One run of `Regressor.adapt`: from the store to a candidate, its judgement, and a new version."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...errors import InputError, NotEnoughSamplesError
from ..adaptation.blas import threads_for
from ..task_session import ATTEMPTS
from .adaptation import RegressionCandidate, ShippedRegression, adapt
from .head import RegressionHead
from .results import RegressionReport, report_of
from .ridge import Ridge
from .source import RegressionSource
from .task import RegressionSession

Progress = Callable[[int, int], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What the caller of `Regressor.adapt` asks for; see there.

    Args:
        on_insufficient: What to do without enough evidence.
        only: Try nothing but this setting.
        sample_weight: Weights of samples by id.
        max_seconds: Time for the search.
        max_forgetting: What may be lost of the source.
    """

    on_insufficient: Literal["keep", "apply"] | None = None
    only: Ridge | None = None
    sample_weight: Mapping[int, float] | None = None
    max_seconds: float | None = None
    max_forgetting: float | None = None


def run(session: RegressionSession, wishes: Wishes, progress: Progress | None = None) -> RegressionReport:
    """Choose, fit and judge a head, and use it if it is no worse. See `Regressor.adapt`."""
    with session.adapting:
        begun = time.perf_counter()
        names = session.bundle.manifest.classes
        for _ in range(ATTEMPTS):
            now = session.in_use()
            version = 0 if now is None else now.version
            candidate = propose(session, None if now is None else now.head, wishes, progress)
            verdict = candidate.judgement.verdict
            insufficient = wishes.on_insufficient or ("apply" if version else "keep")
            applied = verdict == "accepted" or (verdict == "insufficient" and insufficient == "apply")
            seconds = time.perf_counter() - begun
            report = report_of(candidate, names, applied=applied, version=version, seconds=seconds)
            done = _commit(session, candidate, report) if applied else version
            if done is not None:
                _log.info("%s", report)
                return replace(report, version=done, seconds=time.perf_counter() - begun)
        raise session.unsettled()


def refit(session: RegressionSession) -> None:
    """After forgetting: put to use what a regressor that never saw the forgotten samples would have.

    That is the head that `adapt(on_insufficient="apply")` gives on what is left, judged against the shipped head. If it
    is rejected, or too few samples are left, see `TaskSession.settle`.
    """
    shipped = session.load(0)
    try:
        candidate = propose(session, None if shipped is None else shipped.head, Wishes())
    except NotEnoughSamplesError:
        candidate = None
    if candidate is None or candidate.judgement.verdict == "rejected":
        session.settle()
        return
    names = session.bundle.manifest.classes
    _commit(session, candidate, report_of(candidate, names, applied=True, version=0, seconds=0.0))


def propose(
    session: RegressionSession, current: RegressionHead | None, wishes: Wishes, progress: Progress | None = None
) -> RegressionCandidate:
    """Make a candidate and judge it; nothing is stored."""
    source = session.bundle.source(session.runtime)
    shipped = ShippedRegression(
        session.code, session.shipped_head, None if source is None else RegressionSource.from_arrays(source)
    )
    samples, y = session.store.measured(len(session.bundle.manifest.classes))
    stored, weights = set(samples.ids.tolist()), wishes.sample_weight or {}
    unknown = [number for number in weights if number not in stored]
    if unknown:
        raise InputError(f"expected weights for ids of labelled samples, found one for {unknown[0]!r}.")
    with threads_for(*samples.codes.shape):
        return adapt(
            samples,
            y,
            shipped,
            current,
            wishes.only,
            progress,
            sample_weight={int(number): _positive(weight) for number, weight in weights.items()},
            max_forgetting=wishes.max_forgetting,
            deadline=None if wishes.max_seconds is None else time.perf_counter() + _positive(wishes.max_seconds),
        )


def last_setting(session: RegressionSession) -> Ridge | None:
    """Return the setting that the version in use was fitted with; None for the shipped head, or one of an update."""
    now = session.in_use()
    if now is None or now.version == 0:
        return None
    kept = session.kept(session.store.version(now.version)).get("setting")
    return None if kept is None else _setting(kept)


def _setting(kept: Mapping[str, Any]) -> Ridge:
    # JSON knows no infinity.
    strength = float("inf") if kept["strength"] is None else float(kept["strength"])
    return Ridge(strength, float(kept["source_weight"]), kept["prior"])


def _commit(session: RegressionSession, candidate: RegressionCandidate, report: RegressionReport) -> int | None:
    """Store a version and use it; None where samples it was trained on are gone by now."""
    plain = report.to_dict()
    figures = {name: plain[name] for name in ("judgement", "reason", "targets", "samples", "seconds")}
    kept = json.dumps({"summary": str(report), "setting": plain["chosen"]["setting"], **figures})
    return session.commit(kept, candidate.head.to_bytes(), candidate.head.judged)


def _positive(value: float) -> float:
    if isinstance(value, bool) or not 0 < value < float("inf"):
        raise InputError(f"expected a finite number above 0, found {value!r}.")
    return float(value)
