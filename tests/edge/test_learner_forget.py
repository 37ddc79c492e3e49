"""Forgetting: afterwards a learner knows, to the bit, what one knows that never saw the samples."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.adaptation import run as adapting
from acclimate.edge.session import Session
from acclimate.errors import InputError, LabelError

from .learners import Opening, fresh, in_use, knowledge

Dump = Callable[[], list[str]]
Bits = Callable[[Learner, np.ndarray], bytes]
N = 72
TAGS = [f"person-{i % 9}" for i in range(N)]


@pytest.mark.parametrize("by", ["ids", "label", "tag"])
def test_forgetting_is_never_having_seen(opening: Opening, scenes: ModuleType, by: str) -> None:
    """By id, label or tag: weights, choices, verdicts and probabilities are those of a learner given the others."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y, TAGS)
    before = knowledge(learner, x)
    gone = {
        "ids": np.arange(N) % 5 == 2,
        "label": y == "moss",
        "tag": np.array([tag in ("person-0", "person-4") for tag in TAGS]),
    }[by]
    if by == "ids":
        done = learner.forget(ids=np.flatnonzero(gone) + 1)
    elif by == "label":
        done = learner.forget(label="moss")
    else:
        first = learner.forget(tag="person-0")
        assert (first.samples, first.versions) == (8, 1)
        done = learner.forget(tag="person-4")
    assert done.erased
    assert (done.samples, done.versions) == {"ids": (14, 1), "label": (18, 1), "tag": (8, 0)}[by]
    other = fresh(opening(), x[~gone], y[~gone], [tag for tag, out in zip(TAGS, gone, strict=True) if not out])
    assert knowledge(learner, x) == knowledge(other, x)
    assert knowledge(learner, x)["weights"] != before["weights"]
    assert learner.classes == scenes.CLASSES
    assert [version.number for version in learner.versions()] == [0, 2]


def after_partial_fit(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    fresh(learner, x[:40], y[:40])
    learner.partial_fit(x[40:], y[40:])


def after_many_versions(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    for rows in (slice(0, 24), slice(24, 48), slice(48, N)):
        fresh(learner, x[rows], y[rows])
    learner.rollback(2)


def after_labels_came_late(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    ids = learner.observe(x, np.roll(y, 1))
    learner.adapt(on_insufficient="apply")
    learner.label(ids[::-1], y[::-1])
    learner.adapt(on_insufficient="apply")


def after_another_class(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    learner.observe(255 - x[:4], ["crack"] * 4)
    fresh(learner, x, y)
    learner.forget(label="crack")


def after_other_names(learner: Learner, x: np.ndarray, y: np.ndarray) -> None:
    names = {"moss": "lichen", "bark": "moss"}
    learner.classes.rename("moss", "lichen")
    learner.classes.rename("bark", "moss")
    fresh(learner, x, [names.get(str(name), str(name)) for name in y])
    learner.classes.rename("moss", "bark")
    learner.classes.rename("lichen", "moss")


@pytest.mark.parametrize(
    "history",
    [after_partial_fit, after_many_versions, after_labels_came_late, after_another_class, after_other_names],
)
def test_whatever_happened_before(
    opening: Opening, scenes: ModuleType, history: Callable[[Learner, np.ndarray, np.ndarray], None]
) -> None:
    """Refits, rollbacks, relabelling, other classes and names leave nothing behind that a new learner lacks."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    history(learner, x, y)
    stored = learner._session.store.ids()
    gone = np.arange(N) % 4 == 0
    assert learner.forget(stored[gone]).erased
    assert knowledge(learner, x) == knowledge(fresh(opening(), x[~gone], y[~gone]), x)


def test_after_merging(opening: Opening, scenes: ModuleType) -> None:
    """Of merged classes, shipped ones with their statistics, a forgotten sample leaves as little behind."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    learner.classes.merge(["bark", "moss"], "soft")
    learner.adapt(on_insufficient="apply")
    learner.forget(ids=[5, 6, 70])
    left = np.delete(np.arange(N), [4, 5, 69])
    other = opening()
    other.classes.merge(["bark", "moss"], "soft")
    fresh(other, x[left], np.where(np.isin(y, ["bark", "moss"]), "soft", y)[left].astype(str))
    assert knowledge(learner, x) == knowledge(other, x)


def test_many_forgets_cost_one_fit(opening: Opening, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fitted until the head is needed, and then once, however many calls forgot something."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    fits: list[int] = []
    refit = adapting.refit

    def count(session: Session) -> None:
        fits.append(1)
        refit(session)

    monkeypatch.setattr(adapting, "refit", count)
    for number in range(1, 11):
        learner.forget(ids=[number])
    assert not fits
    assert knowledge(learner, x) == knowledge(fresh(opening(), x[10:], y[10:]), x)
    learner.predict(x)
    assert len(fits) == 1


@pytest.mark.parametrize("left", ["nothing", "one class", "fewer samples than classes"])
def test_too_little_left_is_the_shipped_head(opening: Opening, scenes: ModuleType, bits: Bits, left: str) -> None:
    """Where nothing can be fitted from what is left, the shipped head serves, and a new version gets a new number."""
    x, y = scenes.frames(40, 2, 1.0)
    learner = opening("device.db")
    shipped = bits(learner, x)
    ids = fresh(learner, x, y)._session.store.ids()
    kept = {"nothing": y == "", "one class": y == "moss", "fewer samples than classes": np.arange(40) < 3}[left]
    assert learner.forget(ids[~kept]).samples == 40 - kept.sum()
    assert learner.samples == (kept.sum(), kept.sum())
    assert bits(learner, x) == shipped
    assert [(version.number, version.current) for version in learner.versions()] == [(0, True)]
    learner.observe(x[~kept], y[~kept])
    assert learner.adapt(on_insufficient="apply").version == 2


def test_what_no_version_was_trained_on(opening: Opening, scenes: ModuleType) -> None:
    """Samples without a label, and those that came after the last version, go without any version."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x[:60], y[:60])
    before = knowledge(learner, x)
    more = learner.observe(x[60:], [*y[60:66], *[None] * 6])
    done = learner.forget(more)
    assert (done.samples, done.versions, done.erased) == (12, 0, True)
    assert knowledge(learner, x) == before
    assert [(version.number, version.current) for version in learner.versions()] == [(0, False), (1, True)]


def two_versions(opening: Opening, x: np.ndarray, y: np.ndarray, bits: Bits) -> tuple[Learner, bytes]:
    """Return a learner whose second version was trained on more samples, and what the first one predicts."""
    learner = fresh(opening("device.db"), x[:16], y[:16])
    first = bits(learner, x)
    fresh(learner, x[16:], y[16:])
    assert [(version.number, version.current) for version in learner.versions()][2:] == [(2, True)]
    return learner, first


def test_versions_go_with_their_samples(opening: Opening, scenes: ModuleType, bits: Bits) -> None:
    """Exactly the versions trained on a forgotten sample are gone, cannot be rolled back to, and lend no number."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, first = two_versions(opening, x, y, bits)
    done = learner.forget(ids=[N])
    assert (done.samples, done.versions) == (1, 1)
    with pytest.raises(InputError, match=r"expected one of the versions \[0, 1, 3\], found 2\. See versions"):
        learner.rollback(2)
    assert knowledge(learner, x) == knowledge(fresh(opening(), x[:-1], y[:-1]), x)
    assert learner.rollback() == 1
    assert bits(learner, x) == first
    learner.close()
    again = opening("device.db")
    assert bits(again, x) == first
    assert again.forget(ids=[1]).versions == 2
    assert bits(again, x) == bits(fresh(opening(), x[1:-1], y[1:-1]), x)
    assert [version.number for version in again.versions()] == [0, 4]


def test_an_earlier_version_can_be_chosen_at_once(opening: Opening, scenes: ModuleType, bits: Bits) -> None:
    """Rolling back right after forgetting uses the version asked for, not the refit that was due."""
    x, y = scenes.frames(N, 2, 1.0)
    learner, first = two_versions(opening, x, y, bits)
    learner.forget(ids=[N])
    assert learner.rollback(1) == 1
    assert bits(learner, x) == first
    assert [version.number for version in learner.versions() if version.current] == [1]


@pytest.mark.parametrize("other", [False, True], ids=["from its progress", "by another learner"])
def test_forgetting_while_adapting(opening: Opening, scenes: ModuleType, other: bool) -> None:
    """What is forgotten while a head is being fitted has no part in the version that comes of it."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    learner.observe(x, y)
    forgetful = opening("device.db") if other else learner
    done: list[Any] = []

    def forget(step: int, steps: int) -> None:
        if step == 3 and not done:
            done.append(forgetful.forget(ids=[1, 2, 3]))

    report = learner.adapt(on_insufficient="apply", progress=forget)
    assert (done[0].samples, report.samples) == (3, N - 3)
    assert 3 not in in_use(learner).head.judged
    assert knowledge(learner, x) == knowledge(fresh(opening(), x[3:], y[3:]), x)
    assert [version.number for version in learner.versions()] == [0, 1]


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "nothing": ({}, InputError, "expected one of ids, label and tag, found none"),
    "two": ({"ids": [1], "tag": "a"}, InputError, "expected one of ids, label and tag, found ids and tag"),
    "unknown ids": ({"ids": [1, 900]}, InputError, r"expected ids that are stored, found \[900\]\. Nothing was forgo"),
    "a number": ({"ids": 1}, InputError, r"expected a list of ids that observe\(\) returned, found 1"),
    "a float": ({"ids": [1.0]}, InputError, r"expected a list of ids .* found \[1\.0\]"),
    "a mask": ({"ids": np.ones(60, np.bool_)}, InputError, "expected a list of ids"),
    "a list as mask": ({"ids": [True] * 60}, InputError, "expected a list of ids"),
    "no class": ({"label": "crack"}, LabelError, r"expected one of the classes \['bark', .* found 'crack'\. Nothing"),
    "no name": ({"label": ""}, LabelError, "expected a class name of 1 to 200 printable characters, found ''"),
    "no tag": ({"tag": 3}, InputError, r"expected one of tags .* found \[3\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_forgotten(adapted: Learner, dump: Dump, case: str) -> None:
    """Anything but stored ids, a class or a tag is refused in words, and nothing is changed."""
    given, error, message = BAD[case]
    before = dump()
    with pytest.raises(error, match=message):
        adapted.forget(**given)
    assert dump() == before


def test_forgetting_nothing_changes_nothing(adapted: Learner, dump: Dump) -> None:
    """An empty list, a tag that nothing has and an id twice are no mistakes."""
    before = dump()
    for done in (adapted.forget([]), adapted.forget(tag="nobody")):
        assert (done.samples, done.versions, done.erased) == (0, 0, True)
    assert dump() == before
    assert adapted.forget(ids=[7, 7, np.int64(7)]).samples == 1  # type: ignore[list-item]
    assert adapted.samples == (59, 59)
