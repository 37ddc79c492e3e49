"""One run of `Learner.adapt`: from the store to a candidate, its judgement, and a new version."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from ...errors import InputError, LabelError, NotEnoughSamplesError
from ..head import LinearHead
from ..heads import AUTO, Setting
from ..session import Session
from ..statistics import SourceStatistics
from ..store.store import StoredSamples
from ..task_session import ATTEMPTS
from ..unknown.fit import fit_novelty
from ..unknown.novelty import Novelty
from .adapt import Candidate, Shipped, adapt
from .blas import threads_for
from .fisher import Fisher
from .report import Report, report_of

Progress = Callable[[int, int], None]
# Weights and limits above are no numbers that anything is reckoned with.
LARGEST = 1e12
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What the caller of `Learner.adapt` asks for; see there.

    Args:
        on_insufficient: What to do without enough evidence.
        only: Try nothing but this setting.
        class_weight: Weights of classes by name.
        sample_weight: Weights of samples by id.
        max_seconds: Time for the search.
        max_memory_mb: Working memory.
        max_forgetting: What may be lost on the source probe.
    """

    on_insufficient: Literal["keep", "apply"] | None = None
    only: Setting | None = None
    class_weight: Mapping[str, float] | None = None
    sample_weight: Mapping[int, float] | None = None
    max_seconds: float | None = None
    max_memory_mb: float | None = None
    max_forgetting: float | None = None


@dataclass(frozen=True, eq=False)
class Situation:
    """What an adaptation starts from, as it stood at one moment.

    Args:
        samples: The labelled samples.
        names: Class names by id.
        shipped: What the bundle brings along, and what has become of its classes.
        frozen: Ids of the classes that are not trained on.
        current: The head that the candidate is compared with, or None.
        version: Its number.
    """

    samples: StoredSamples
    names: dict[int, str]
    shipped: Shipped
    frozen: frozenset[int]
    current: LinearHead | None
    version: int


def run(session: Session, wishes: Wishes, progress: Progress | None = None) -> Report:
    """Choose, fit and judge a head, and use it if it is no worse. See `Learner.adapt`."""
    _check(wishes)
    with session.adapting:
        begun = time.perf_counter()
        for _ in range(ATTEMPTS):
            # Another process may have committed or rolled back, and forgotten samples may wait for their refit.
            session.in_use()
            now = situation(session, session.store.current)
            candidate = propose(session, now, wishes, progress)
            verdict = candidate.judgement.verdict
            insufficient = wishes.on_insufficient or ("apply" if now.version else "keep")
            applied = verdict == "accepted" or (verdict == "insufficient" and insufficient == "apply")
            seconds = time.perf_counter() - begun
            report = report_of(
                candidate, now.names, now.samples.classes, applied=applied, version=now.version, seconds=seconds
            )
            done = _commit(session, candidate, report, now) if applied else (now.version, report)
            if done is not None:
                version, report = done
                _log.info("%s", report)
                return replace(report, version=version, seconds=time.perf_counter() - begun)
        raise session.unsettled()


def refit(session: Session) -> None:
    """After forgetting: put to use what a learner that never saw the forgotten samples would have.

    That is the head that `adapt(on_insufficient="apply")` gives on what is left, judged against the shipped head. If it
    is rejected, or too few samples are left: the newest version that was trained on none of the forgotten samples, and
    without one the shipped head.
    """
    now = situation(session, 0)
    try:
        candidate = propose(session, now, Wishes())
    except (LabelError, NotEnoughSamplesError):
        session.settle()
        return
    if candidate.judgement.verdict == "rejected":
        session.settle()
        return
    report = report_of(candidate, now.names, now.samples.classes, applied=True, version=0, seconds=0.0)
    # Where more was forgotten meanwhile, the refit stays pending, and the next use begins anew.
    _commit(session, candidate, report, now)


def situation(session: Session, version: int) -> Situation:
    """Read what an adaptation starts from, in one piece.

    Args:
        session: The opened learner.
        version: The version to compare with; if it cannot be read, what serves in its place.
    """
    store = session.store
    with store.reading():
        source = session.bundle.source(session.runtime)
        head = session.load(version) if version == 0 else session.load()
        return Situation(
            store.labelled(),
            store.classes(),
            Shipped(
                store.shipped_classes(),
                session.code,
                session.shipped_head,
                None if source is None else SourceStatistics.from_arrays(source),
                None if source is None else Fisher.from_arrays(source),
            ),
            store.frozen_classes(),
            None if head is None else head.head,
            version,
        )


def propose(session: Session, now: Situation, wishes: Wishes, progress: Progress | None = None) -> Candidate:
    """Make a candidate and judge it; nothing is stored."""
    if wishes.max_seconds is not None or wishes.max_memory_mb is not None:
        from .budget import check_budget, size_of

        check_budget(size_of(session, len(now.samples.ids)), wishes.max_seconds, wishes.max_memory_mb)
    deadline = None if wishes.max_seconds is None else time.perf_counter() + wishes.max_seconds
    with threads_for(*now.samples.codes.shape):
        return adapt(
            now.samples,
            now.shipped,
            now.current,
            now.names,
            AUTO,
            wishes.only,
            progress,
            class_weight=_class_weights(wishes.class_weight, now.names),
            sample_weight=_sample_weights(wishes.sample_weight, now.samples),
            frozen=now.frozen,
            max_forgetting=wishes.max_forgetting,
            deadline=deadline,
        )


def last_setting(session: Session) -> Setting | None:
    """Return the setting that the version in use was fitted with; None for the shipped head."""
    now = session.in_use()
    if now is None or now.version == 0:
        return None
    kept = session.kept(session.store.version(now.version)).get("setting")
    # An update brings a head along and no setting.
    return None if kept is None else Setting(**kept)


def _commit(session: Session, candidate: Candidate, report: Report, now: Situation) -> tuple[int, Report] | None:
    """Store a version and use it; None where samples it was trained on are gone by now."""
    head = replace(candidate.head, novelty=_novelty(session, candidate, now))
    report = replace(report, unknown=head.novelty is not None)
    plain = report.to_dict()
    names = ("judgement", "reason", "before", "after", "samples", "classes", "seconds")
    figures = {name: plain[name] for name in names}
    kept = json.dumps({"summary": str(report), "setting": asdict(report.chosen.setting), **figures})
    version = session.commit(kept, head.to_bytes(), now.samples.ids)
    return None if version is None else (version, report)


def _novelty(session: Session, candidate: Candidate, now: Situation) -> Novelty | None:
    """Fit what tells frames unlike every class, on the folds of the cross-validation."""
    shipped, ids, samples = now.shipped.present(), candidate.head.classes, now.samples
    trained = np.isin(samples.ids, candidate.head.judged)
    y = np.searchsorted(ids, samples.classes[trained])
    places = np.searchsorted(ids, shipped.ids)
    with threads_for(*samples.codes.shape):
        return fit_novelty(
            samples.codes[trained], y, candidate.selection.fold, len(ids), session.code, shipped.source, places
        )


def _check(wishes: Wishes) -> None:
    for name in ("max_seconds", "max_memory_mb"):
        value = getattr(wishes, name)
        if value is not None:
            _positive(value, name)
    most = wishes.max_forgetting
    if most is not None and (not _is_number(most) or not 0 <= most <= 100):
        raise InputError(f"expected max_forgetting in points from 0 to 100, found {most!r}.")
    for name in ("class_weight", "sample_weight"):
        if not isinstance(getattr(wishes, name), Mapping | None):
            raise InputError(f"expected {name} as a mapping to numbers, found {getattr(wishes, name)!r:.80}.")


def _class_weights(weights: Mapping[str, float] | None, names: dict[int, str]) -> dict[int, float] | None:
    if weights is None:
        return None
    ids = {name: number for number, name in names.items()}
    unknown = [name for name in weights if name not in ids]
    if unknown:
        raise LabelError(f"expected weights for the classes {list(ids)[:20]}, found one for {unknown[0]!r}.")
    return {ids[name]: _positive(weight) for name, weight in weights.items()}


def _sample_weights(weights: Mapping[int, float] | None, samples: StoredSamples) -> dict[int, float] | None:
    if weights is None:
        return None
    stored = set(samples.ids.tolist())
    unknown = [number for number in weights if not _is_whole(number) or int(number) not in stored]
    if unknown:
        raise InputError(f"expected weights for ids of labelled samples, found one for {unknown[0]!r}.")
    return {int(number): _positive(weight) for number, weight in weights.items()}


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _positive(value: float, name: str = "a weight") -> float:
    if not _is_number(value) or not 0 < value <= LARGEST:
        raise InputError(f"expected {name} as a finite number above 0, found {value!r:.80}.")
    return float(value)
