"""One run of `Learner.adapt`: from the store to a candidate, its judgement, and a new version."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import InputError, LabelError
from ...record import record
from ..checks import check_name
from ..heads import AUTO, Setting
from ..session import Session
from ..statistics import SourceStatistics
from ..store.store import StoredSamples
from ..unknown.fit import fit_novelty
from ..unknown.novelty import Novelty
from . import attempt
from .adapt import Candidate, Shipped, adapt
from .attempt import served
from .blas import threads_for
from .current import Current
from .fisher import Fisher
from .report import Report, TailReport, report_of
from .wishes import Wishes, check_wishes, positive, sample_weights

if TYPE_CHECKING:
    from ..tail.head import TailHead

Progress = Callable[[int, int], None]
TailWish = Literal["auto"] | bool
POINTS = 100.0


@record(eq=False)
class Situation:
    """What an adaptation starts from, as it stood at one moment.

    Args:
        samples: The labelled samples.
        names: Class names by id.
        shipped: What the bundle brings along, and what has become of its classes.
        frozen: Ids of the classes that are not trained on.
        current: The head or tail that the candidate is compared with, or None.
        version: Its number.
    """

    samples: StoredSamples
    names: dict[int, str]
    shipped: Shipped
    frozen: frozenset[int]
    current: Current | None
    version: int


def run(
    session: Session, wishes: Wishes[Setting], progress: Progress | None = None, tail: "TailWish" = "auto"
) -> Report:
    """Choose, fit and judge a head, or a tail, and use it if it is no worse. See `Learner.adapt`."""
    check_wishes(wishes, POINTS)
    check_tail(session, tail)
    return attempt.run(
        session, lambda version: _attempt(session, version, wishes, progress, tail), wishes.on_insufficient
    )


def refit(session: Session) -> None:
    """After forgetting: put to use what a learner that never saw the forgotten samples would have.

    Of heads alone: a tail takes minutes, and this is done where somebody waits for a prediction.
    """
    attempt.refit(session, lambda version: _attempt(session, version, Wishes(), tail=False))


def situation(session: Session, version: int) -> Situation:
    """Read what an adaptation starts from, in one piece.

    Args:
        session: The opened learner.
        version: The version to compare with; if it cannot be read, what serves in its place.
    """
    store = session.store
    with store.reading():
        source = session.bundle.source(session.runtime)
        head = served(session, version)
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
            None if head is None else head.tail or head.head,
            version,
        )


def propose(session: Session, now: Situation, wishes: Wishes[Setting], progress: Progress | None = None) -> Candidate:
    """Make a candidate and judge it; nothing is stored."""
    if wishes.max_seconds is not None or wishes.max_memory_mb is not None:
        from .budget import check_budget, need

        check_budget(need(session, len(now.samples.ids)), wishes.max_seconds, wishes.max_memory_mb)
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
            class_weight=class_weights(wishes.class_weight, now.names),
            sample_weight=sample_weights(wishes, now.samples.ids),
            frozen=now.frozen,
            max_forgetting=wishes.max_forgetting,
            deadline=deadline,
        )


def check_tail(session: Session, tail: TailWish) -> None:
    """Check that a tail can be trained, if that is asked for.

    Raises:
        InputError: If it cannot, or what is asked for is not one of what there is.
    """
    if tail not in ("auto", True, False):
        raise InputError(f"expected tail to be 'auto', True or False, found {tail!r:.80}.")
    if tail is True and session.map_code is None:
        bundle = session.bundle
        others = [v.runtime for v in bundle.manifest.variants if bundle.map_code(v.runtime) is not None]
        if others:
            raise InputError(
                f"expected a variant with a tail, found one for {others[0]} alone in {bundle.path.name}. Open it with "
                f"runtime='{others[0]}', or leave tail='auto'."
            )
        raise InputError(
            f"expected a bundle with a tail for {session.runtime}, found none in {bundle.path.name}. Convert "
            f"the model with a cut in front of its last blocks, or leave tail='auto'."
        )


def last_setting(session: Session) -> Setting | None:
    """Return the setting that the version in use was fitted with; None for the shipped head, or one of an update."""
    kept = attempt.kept_setting(session)
    return None if kept is None else Setting(**kept)


@record(eq=False)
class _Attempt:
    """A candidate with what it started from, and what came of the tail. See `attempt.Attempt`."""

    session: Session
    now: Situation
    candidate: Candidate
    tail: TailReport | None = None
    trained: "TailHead | None" = None
    half: bool = False

    @property
    def version(self) -> int:
        return self.now.version

    @property
    def verdict(self) -> Literal["accepted", "rejected", "insufficient"]:
        return self.candidate.judgement.verdict

    def report(self, *, applied: bool, seconds: float) -> Report:
        now = self.now
        return report_of(
            self.candidate,
            now.names,
            now.samples.classes,
            applied=applied,
            version=now.version,
            seconds=seconds,
            tail=self.tail,
        )

    def commit(self, report: Report) -> tuple[int, Report] | None:
        head = replace(self.candidate.head, novelty=_novelty(self.session, self.candidate, self.now))
        report = replace(report, unknown=head.novelty is not None)
        plain = report.to_dict()
        names = ("judgement", "reason", "before", "after", "samples", "classes", "seconds")
        figures = {name: plain[name] for name in names}
        content = head.to_bytes()
        if self.trained is not None:
            figures["tail"] = plain["tail"]
            content = replace(self.trained, linear=head).to_bytes(half=self.half)
        kept = json.dumps({"summary": str(report), "setting": asdict(report.chosen.setting), **figures})
        version = self.session.commit(kept, content, self.now.samples.ids)
        return None if version is None else (version, report)


def _attempt(
    session: Session,
    version: int,
    wishes: Wishes[Setting],
    progress: Progress | None = None,
    tail: "TailWish" = "auto",
) -> _Attempt:
    begun, now = time.perf_counter(), situation(session, version)
    candidate = propose(session, now, wishes, progress)
    if tail is False or session.map_code is None:
        return _Attempt(session, now, candidate)
    if tail == "auto" and candidate.enough is not False:
        return _Attempt(session, now, candidate)
    from ..tail.run import improve

    deadline = None if wishes.max_seconds is None else begun + wishes.max_seconds
    found = improve(session, now, candidate, wishes, tail, deadline, progress)
    return _Attempt(session, now, found.candidate, found.report, found.head, found.half)


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


def class_weights(weights: Mapping[str, float] | None, names: dict[int, str]) -> dict[int, float] | None:
    """Return the weights of classes by id, checked.

    Raises:
        LabelError: If one is for no class, or two are for one.
    """
    if weights is None:
        return None
    ids, found = {name: number for number, name in names.items()}, dict[int, float]()
    for given, weight in weights.items():
        name = check_name(given)
        if name not in ids:
            raise LabelError(f"expected weights for the classes {list(ids)[:20]}, found one for {given!r:.80}.")
        if ids[name] in found:
            raise LabelError(f"expected one weight for the class {name!r}, found two. Name it once.")
        found[ids[name]] = positive(weight)
    return found
