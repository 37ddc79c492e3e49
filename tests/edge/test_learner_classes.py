"""The life of a class: added, renamed, merged, split, removed, frozen; `predict` follows at once, `adapt` after."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.errors import InputError, LabelError

from .learners import Opening, fresh, in_use, knowledge

Dump = Callable[[], list[str]]
Bits = Callable[[Learner, np.ndarray], bytes]
N = 72


def cracks(n: int, seed: int = 0) -> np.ndarray:
    """Return frames of a class that was not shipped: stripes."""
    stripes = np.where(np.arange(8) % 2, 200, 60)[None, None, :, None]
    noise = np.random.default_rng(seed).normal(0, 16, (n, 8, 8, 1))
    return np.clip(stripes + noise, 0, 255).astype(np.uint8)


def test_a_class_without_samples(opening: Opening, scenes: ModuleType, bits: Bits) -> None:
    """An added class has a name and an id, is not predicted, and does not disturb adapting."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    before = bits(learner, x)
    learner.classes.add("crack")
    assert learner.classes == (*scenes.CLASSES, "crack")
    assert learner.classes.ids["crack"] == 4
    assert bits(learner, x) == before
    fresh(learner, x, y)
    assert learner.predict(x).classes == scenes.CLASSES
    assert knowledge(learner, x) == knowledge(fresh(opening(), x, y), x)


def test_one_sample_makes_a_class(opening: Opening, scenes: ModuleType) -> None:
    """After a single frame of a new class most others of it are recognised, and the old classes as before."""
    x, y = scenes.frames(N, 2)
    learner = opening("device.db")
    learner.observe(x, y)
    learner.observe(cracks(1), ["crack"])
    report = learner.adapt()
    assert report.applied
    assert report.classes == (*scenes.CLASSES, "crack")
    assert learner.score(cracks(50, 1), ["crack"] * 50) > 0.9
    assert learner.score(*scenes.frames(400, 98)) > 0.95


def test_a_new_name_is_answered_at_once(opening: Opening, scenes: ModuleType) -> None:
    """Renaming changes names and nothing else, shipped classes too, in every version and after reopening."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    before = learner.predict(x)
    learner.classes.rename("moss", "lichen")
    for again in (learner, opening("device.db")):
        found = again.predict(x)
        assert found.probabilities.tobytes() == before.probabilities.tobytes()
        assert found.classes == ("bark", "brick", "gravel", "lichen") == tuple(again.classes)
        assert found.labels.tolist() == ["lichen" if name == "moss" else name for name in before.labels]
        assert again.classes.ids == {"bark": 0, "brick": 1, "gravel": 2, "lichen": 3}
    learner.rollback(0)
    assert learner.predict(x).classes[3] == "lichen"
    learner.classes.add("moss")
    assert learner.classes.ids["moss"] == 4
    learner.classes.rename("lichen", "lichen")
    assert learner.classes == ("bark", "brick", "gravel", "lichen", "moss")


@pytest.mark.parametrize("into", ["soft", "bark", "moss", "crack"])
def test_merged_classes_add_up(opening: Opening, scenes: ModuleType, into: str) -> None:
    """Probabilities of merged classes add up at once; after adapting, all is as if they had always been one."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    if into == "crack":
        learner.classes.add("crack")
    before = learner.predict(x)
    learner.classes.merge(["bark", "moss"], into)
    found = learner.predict(x)
    assert set(found.classes) == {"brick", "gravel", into}
    both = before.probabilities[:, 0] + before.probabilities[:, 3]
    np.testing.assert_allclose(found.probabilities[:, found.classes.index(into)], both, atol=1e-6)
    np.testing.assert_allclose(found.probabilities[:, found.classes.index("brick")], before.probabilities[:, 1])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    learner.adapt(on_insufficient="apply")
    other = opening()
    if into == "crack":
        other.classes.add("crack")
    other.classes.merge(["bark", "moss"], into)
    other.observe(x, [into if name in ("bark", "moss") else str(name) for name in y])
    # The same current head to be judged against: the shipped one, with the classes merged.
    learner.rollback(0)
    learner.adapt(on_insufficient="apply")
    other.adapt(on_insufficient="apply")
    assert knowledge(learner, x) == knowledge(other, x)


def test_merging_is_kept_and_goes_on(opening: Opening, scenes: ModuleType) -> None:
    """What was merged can be merged again, by reopened learners as well; every version then says the last name."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    before = learner.predict(x).probabilities
    learner.classes.merge(["bark", "moss"], "soft")
    learner.close()
    again = opening("device.db")
    again.classes.merge(["gravel", "soft"], "ground")
    found = again.predict(x)
    assert sorted(found.classes) == ["brick", "ground"]
    expected = before[:, 0] + before[:, 2] + before[:, 3]
    np.testing.assert_allclose(found.probabilities[:, found.classes.index("ground")], expected, atol=1e-6)
    names = again._session.store.classes()
    assert {names[int(c)] for c in again._session.store.labelled().classes} == {"brick", "ground"}


def test_the_source_of_merged_classes_is_merged(opening: Opening, scenes: ModuleType) -> None:
    """Shipped classes that were merged, and that no local sample shows, are known as one from their source."""
    x, y = scenes.frames(160, 2)
    rows = np.isin(y, ["brick", "gravel"])
    learner = opening("device.db")
    learner.classes.merge(["bark", "moss"], "soft")
    fresh(learner, x[rows], y[rows])
    assert in_use(learner).version == 1
    home, at_home = scenes.frames(400, 98)
    assert learner.score(home, np.where(np.isin(at_home, ["bark", "moss"]), "soft", at_home).astype(str)) > 0.95


def test_a_class_splits(opening: Opening, scenes: ModuleType) -> None:
    """Some of a class's samples become another class; after adapting, all is as if they had been labelled so."""
    x, y = scenes.frames(N, 2, 1.0)
    mixed = np.where(y == "moss", "bark", y).astype(str)
    learner = fresh(opening("device.db"), x, mixed)
    learner.classes.split("bark", (np.flatnonzero(y == "moss") + 1).tolist(), "crust")
    assert learner.classes == (*scenes.CLASSES, "crust")
    assert "crust" not in learner.predict(x).classes
    learner.rollback(0)
    learner.adapt(on_insufficient="apply")
    other = fresh(opening(), x, np.where(y == "moss", "crust", y).astype(str))
    assert knowledge(learner, x) == knowledge(other, x)
    assert learner.score(x, np.where(y == "moss", "crust", y).astype(str)) > 0.9


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("name", ["moss", "crack"])
def test_a_removed_class_is_gone(opening: Opening, scenes: ModuleType, name: str, forget: bool) -> None:
    """At once, after adapting and in older versions it is never predicted; its samples are forgotten or unlabelled."""
    x, y = scenes.frames(N, 2, 1.0)
    every, labels = np.concatenate([x, cracks(10)]), [*y, *["crack"] * 10]
    learner = fresh(opening("device.db"), every, labels)
    before = learner.predict(every)
    learner.classes.remove(name, forget=forget)
    number = sum(label == name for label in labels)
    assert learner.samples == ((82 - number) if forget else 82, 82 - number)
    left = [place for place, kept in enumerate(before.classes) if kept != name]
    found = learner.predict(every)
    assert found.classes == tuple(before.classes[place] for place in left)
    if not forget:
        rest = before.probabilities[:N, left].sum(axis=1, keepdims=True)
        assert (rest > 0.1).sum() > 40
        share = before.probabilities[:N, left] / np.maximum(rest, 0.1)
        np.testing.assert_allclose(found.probabilities[:N][rest[:, 0] > 0.1], share[rest[:, 0] > 0.1], atol=1e-4)
    for version in (None, 0, None):
        if version is None:
            learner.adapt(on_insufficient="apply")
        else:
            learner.rollback(version)
        assert name not in learner.predict(every).classes
        assert name not in learner.predict(every).labels
    assert name not in opening("device.db").classes
    assert learner.score(*scenes.frames(200, 99, 1.0)) > (0.6 if name == "moss" else 0.8)


def test_a_name_that_comes_back_is_another_class(opening: Opening, scenes: ModuleType) -> None:
    """A removed name can be used again: with a new id, and nothing of the shipped class or its samples."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    learner.classes.remove("moss")
    learner.classes.add("moss")
    assert learner.classes.ids == {"bark": 0, "brick": 1, "gravel": 2, "moss": 4}
    assert learner.predict(x).classes == ("bark", "brick", "gravel")
    learner.observe(cracks(8), ["moss"] * 8)
    learner.adapt(on_insufficient="apply")
    assert learner.score(cracks(40, 1), ["moss"] * 40) > 0.95
    assert "moss" not in learner.predict(scenes.frames(40, 98)[0]).labels


def test_a_frozen_class_is_not_trained_on(opening: Opening, scenes: ModuleType, bits: Bits) -> None:
    """Samples of a frozen class do not move its weights, and those of a thawed one do; that outlasts reopening."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    learner.classes.freeze("moss")
    learner.close()
    learner = opening("device.db")
    fresh(learner, x, np.where(y == "moss", "moss", y))
    trained = in_use(learner).head
    assert set(trained.judged.tolist()) == set((np.flatnonzero(y != "moss") + 1).tolist())
    wrong = np.flatnonzero(y == "moss") + 1
    learner.rollback(0)
    learner.forget(wrong)
    learner.observe(cracks(len(wrong)), ["moss"] * len(wrong))
    learner.adapt(on_insufficient="apply", max_forgetting=100)
    assert set(in_use(learner).head.judged.tolist()) == set(trained.judged.tolist())
    learner.classes.freeze("moss", False)
    learner.rollback(0)
    learner.adapt(on_insufficient="apply", max_forgetting=100)
    assert len(in_use(learner).head.judged) == N


def test_classes_are_a_sequence(adapted: Learner, scenes: ModuleType) -> None:
    """They index, slice, iterate, compare and print as the tuple of the names that they are now."""
    classes = adapted.classes
    assert (classes[0], classes[-1], classes[1:3]) == ("bark", "moss", ("brick", "gravel"))
    assert (len(classes), list(classes), next(reversed(classes))) == (4, list(scenes.CLASSES), "moss")
    assert "moss" in classes
    assert "crack" not in classes
    assert (classes.index("gravel"), classes.count("gravel")) == (2, 1)
    assert classes == scenes.CLASSES == adapted.classes
    assert classes == list(scenes.CLASSES)
    assert classes != scenes.CLASSES[:3]
    assert repr(classes) == "Classes('bark', 'brick', 'gravel', 'moss')"
    with pytest.raises(IndexError):
        classes[4]
    with pytest.raises(TypeError, match="unhashable"):
        hash(classes)
    classes.add("crack")
    assert (len(classes), classes[4]) == (5, "crack")


def test_a_whole_number_or_another_form_of_a_letter_names_a_class_too(adapted: Learner, scenes: ModuleType) -> None:
    """As where it was observed: in looking it up and in weights; what cannot be a name names none."""
    classes = adapted.classes
    classes.add("3")
    classes.add("caf\u00e9")
    forms: tuple[Any, ...] = (3, np.int64(3), "cafe\u0301")
    assert all(name in classes for name in forms)
    assert (classes.index(3), classes.count(np.int64(3)), classes.index("cafe\u0301")) == (4, 1, 5)
    for nothing in (None, True, 3.0, "", 2**70, b"moss"):
        assert nothing not in classes
    with pytest.raises(ValueError, match="not in"):
        classes.index("")
    adapted.observe(scenes.frames(8, 7, 1.0)[0], [3] * 8)
    by_number: Any = {3: 4.0}
    plain, weighted, named = (
        adapted.adapt(on_insufficient="keep", class_weight=weights) for weights in (None, by_number, {"3": 4.0})
    )
    assert weighted.trials == named.trials != plain.trials
    with pytest.raises(LabelError, match="expected one weight for the class '3', found two"):
        adapted.adapt(class_weight={**by_number, "3": 1.0})
    by_number[7] = 1.0
    with pytest.raises(LabelError, match=r"expected weights for the classes .*, found one for 7"):
        adapted.adapt(class_weight=by_number)


def test_many_classes_are_read_once(adapted: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going through the names reads them from the store once, and so as they were at one moment."""
    names = [f"class {i}" for i in range(2_000)]
    adapted._session.store.add_classes(names)
    reads: list[int] = []
    read = adapted._session.store.classes

    def count() -> dict[int, str]:
        reads.append(1)
        return read()

    monkeypatch.setattr(adapted._session.store, "classes", count)
    assert list(adapted.classes)[4:] == names
    assert "class 1999" in adapted.classes
    assert adapted.classes.index("class 1999") == 2_003
    assert len(reads) < 10


def test_new_classes_can_be_refused(opening: Opening, scenes: ModuleType) -> None:
    """Where labels may not add classes, the application still can, and its labels are taken then."""
    learner = opening("device.db", new_classes="refuse")
    with pytest.raises(LabelError, match=r"expected labels among the classes .* found \['crack'\]"):
        learner.observe(cracks(1), ["crack"])
    learner.classes.add("crack")
    ids = learner.observe(cracks(2), ["crack", None])
    learner.label(ids[1:], ["crack"])
    learner.classes.rename("crack", "rift")
    with pytest.raises(LabelError, match=r"found \['crack'\]"):
        learner.label(ids, ["rift", "crack"])
    assert learner.samples == (2, 2)


def test_removing_all_and_starting_anew(opening: Opening, scenes: ModuleType) -> None:
    """Without any class there is no head; classes of the same names that are labelled then are learnt from scratch."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = fresh(opening("device.db"), x, y)
    for name in scenes.CLASSES:
        learner.classes.remove(name)
    for call in (lambda: learner.predict(x), lambda: learner.score(x, y)):
        with pytest.raises(InputError, match=r"expected a head to predict with, found none: observe labelled samples"):
            call()
    learner.fit(x, y)
    assert set(learner.classes.ids.values()) == {4, 5, 6, 7}
    assert learner.score(*scenes.frames(400, 99, 1.0)) > 0.8


def test_names_of_any_script(opening: Opening, scenes: ModuleType) -> None:
    """Any printable text is a name, in one form; a whole number stands for its decimal name."""
    learner = opening("device.db")
    names: list[Any] = ["樹皮", "Ж🌿", "a'; DROP TABLE samples; --", "é", 12]
    learner.observe(cracks(5), names)
    assert learner.classes[4:] == ("樹皮", "Ж🌿", "a'; DROP TABLE samples; --", "é", "12")
    with pytest.raises(LabelError, match="a name that no class has yet"):
        learner.classes.add("e\u0301")
    learner.classes.merge(["樹皮", "Ж🌿"], "  é ")
    assert learner.classes[4:] == ("a'; DROP TABLE samples; --", "é", "12")
    assert learner.forget(label=12).samples == 1  # type: ignore[arg-type]
