"""One run of `Learner.align`: from the store to an aligned head, its judgement, and a new version."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, NotEnoughSamplesError
from ...record import record
from ..adaptation.displacement import within_variance
from ..adaptation.groups import sample_groups
from ..adaptation.guard import Judgement, judge
from ..adaptation.shipped import Shipped
from ..adaptation.trial import places_among
from ..checks import check_ids
from ..head import Ids, LinearHead
from ..notices import note
from ..session import InUse, Session
from ..statistics import SourceStatistics
from ..store.samples import StoredSamples
from ..task_session import ATTEMPTS
from ..unknown.novelty import Novelty
from .align import Alignment, align
from .label_balance import Balance, rebalance
from .report import AlignReport, Method
from .shift import LEVEL, ShiftTest, source_test

METHODS: tuple[Method, ...] = ("auto", "coral", "prototypes", "label-shift")
# Fewer say nothing of a place: samples, and pieces of evidence among them.
LEAST_SAMPLES, LEAST_UNITS = 20, 10
_ALIGNED = "Samples held out are likelier where the source's classes are moved to them."
_BALANCED = "Another mix of classes explains samples held out better, and two estimates of it agree."
_NONE_LABELLED = "No label says how well it does; rollback() undoes it."


@record(eq=False)
class Look:
    """What an alignment starts from, as it stood at one moment.

    Args:
        samples: The samples.
        groups: ``(n,)`` unit of evidence of each.
        names: Class names by id.
        shipped: What the bundle brings along.
        shift: What the shift test says.
    """

    samples: StoredSamples
    groups: Ids
    names: dict[int, str]
    shipped: Shipped
    shift: ShiftTest


def run(session: Session, method: Method, ids: Sequence[int] | Ids | None) -> AlignReport:
    """Align the shipped head with what the device sees, and use it if the evidence is for it. See `Learner.align`."""
    if method not in METHODS:
        raise InputError(f"expected method to be one of {', '.join(METHODS)}, found {method!r:.80}.")
    with session.adapting:
        begun = time.perf_counter()
        for _ in range(ATTEMPTS):
            now = session.in_use()
            _check_in_use(session, now)
            look = look_at(session, ids)
            report, head = _propose(session, look, method, now)
            report = replace(report, seconds=time.perf_counter() - begun)
            version: int | None = session.store.current
            if report.applied:
                version = _commit(session, report, head, look.samples.ids)
            if version is not None:
                note(__name__, "%s", report)
                return replace(report, version=version)
        raise session.unsettled()


def look_at(session: Session, ids: Sequence[int] | Ids | None, *, level: float = LEVEL, seed: int = 0) -> Look:
    """Read samples and test them for a shift from the source.

    Raises:
        InputError: If the bundle has no source statistics, or an id is not stored.
        NotEnoughSamplesError: If there are too few samples, or too many of them alike.
    """
    store = session.store
    with store.reading():
        arrays = session.bundle.source(session.runtime)
        if arrays is None:
            raise InputError(
                f"expected a bundle with source statistics, found none in {session.bundle.path.name}. Convert the "
                f"model with samples of its source, or label samples and adapt()."
            )
        samples = store.samples(store.ids() if ids is None else sorted(set(check_ids(ids))))
        shipped = Shipped(
            store.shipped_classes(), session.code, session.shipped_head, SourceStatistics.from_arrays(arrays)
        )
        names = store.classes()
    left = shipped.present()
    if left.source is None or not left.source.count.any():
        raise InputError("expected shipped classes with source statistics, found none left. Label samples and adapt().")
    # What is labelled as a class that was added here is nothing that the source has.
    own = np.isin(samples.classes, left.ids) | (samples.classes < 0)
    samples = StoredSamples(
        samples.ids[own],
        samples.classes[own],
        samples.codes[own],
        tuple(tag for tag, kept in zip(samples.tags, own, strict=True) if kept),
    )
    groups = sample_groups(samples.codes, np.zeros(len(own[own]), np.int64), samples.tags, within_variance(left.source))
    units = int(groups.max(initial=-1)) + 1
    if len(samples.ids) < LEAST_SAMPLES or units < LEAST_UNITS:
        raise NotEnoughSamplesError(
            f"expected at least {LEAST_SAMPLES} stored samples in {LEAST_UNITS} pieces of evidence to compare with the "
            f"source, found {len(samples.ids)} in {units}: near-duplicates and samples of one tag count once. Observe "
            f"more, on several occasions."
        )
    return Look(
        samples, groups, names, shipped, source_test(samples.codes, left.source, groups, level=level, seed=seed)
    )


def _check_in_use(session: Session, now: InUse | None) -> None:
    """Check that the head in use is the shipped one, or one that was aligned: of no other does the source speak."""
    if now is None or session.shipped_head is None:
        raise InputError("expected a bundle with a head to align, found none. Label samples and adapt().")
    if now.version == 0:
        return
    if now.tail is None and "alignment" in session.kept(session.store.version(now.version)):
        return
    what = "a trained tail" if now.tail is not None else "fitted to labels, or comes from an update"
    raise InputError(
        f"expected the shipped head or an aligned one in use, found version {now.version}, which is {what}: the "
        f"statistics of the source say nothing of that. Label samples and adapt(), or rollback(0) first."
    )


def _propose(session: Session, look: Look, method: Method, now: InUse | None) -> tuple[AlignReport, LinearHead | None]:
    samples, shift, shipped = look.samples, look.shift, look.shipped
    found: Alignment | Balance
    if method == "label-shift":
        found = rebalance(shipped, samples.codes, look.groups, _novelty(session))
        against = found.against
        if shift.beyond:
            against = "The samples differ from the source by more than another mix of classes: biases do not mend that."
    else:
        found = align(shipped, samples.codes, look.groups, method, _novelty(session))
        against = found.evidence.against
    if not shift.shifted:
        against = f"{str(shift)[0].upper()}{str(shift)[1:]}: there is nothing to align."
    judgement = None if now is None else _labelled(look, found.head, now.head, session)
    applied, reason = _decide(method, against, judgement)
    names = [look.names[int(i)] for i in found.classes]
    balance: dict[str, tuple[float, float]] = {}
    for name, there, here in zip(names, found.home.tolist(), found.prior.tolist(), strict=True):
        before = balance.get(name, (0.0, 0.0))
        balance[name] = (before[0] + there, before[1] + here)
    report = AlignReport(
        applied,
        0,
        method,
        reason,
        len(samples.ids),
        int(look.groups.max()) + 1,
        shift,
        found.evidence if isinstance(found, Alignment) else None,
        balance,
        judgement,
    )
    return report, found.head


def _novelty(session: Session) -> Novelty | None:
    """Return what tells unknown frames with the shipped head."""
    home = session.load(0)
    return None if home is None else home.head.novelty


def _decide(method: Method, against: str | None, judgement: Judgement | None) -> tuple[bool, str]:
    """Let labels decide where they can, else what speaks for it without any."""
    if judgement is not None and judgement.verdict != "insufficient":
        return judgement.verdict == "accepted", judgement.reason
    told = "" if judgement is None else f" {judgement.reason}"
    if against is not None:
        return False, f"{against} The head in use stays.{told}"
    return True, f"{_BALANCED if method == 'label-shift' else _ALIGNED} {_NONE_LABELLED}{told}"


def _labelled(look: Look, head: LinearHead, current: LinearHead, session: Session) -> Judgement | None:
    """Compare both heads on the samples that have a label; neither was fitted on it."""
    samples, present = look.samples, {i: int(c) for i, c in enumerate(look.shipped.classes) if c >= 0}
    rows = samples.classes >= 0
    if not rows.any():
        return None
    candidate, ids = head.present(present), look.shipped.ids
    y = np.searchsorted(ids, samples.classes[rows])
    latents = session.code.decode(samples.codes[rows])
    after, before = (places_among(one.held_out(samples.ids[rows], latents), ids) for one in (candidate, current))
    known: NDArray[np.bool_] = np.ones(len(ids), np.bool_)
    return judge(y, after, before, known, look.groups[rows], [look.names[int(i)] for i in ids])


def _commit(session: Session, report: AlignReport, head: LinearHead | None, ids: Ids) -> int | None:
    """Store the head as a version of the samples that it was fitted on, so that forgetting one takes it along."""
    if head is None:
        raise AssertionError("what is applied is a head")
    plain = report.to_dict()
    kept = json.dumps({"summary": str(report), "alignment": plain, "seconds": report.seconds})
    return session.commit(kept, head.to_bytes(), ids)
