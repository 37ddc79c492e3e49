"""Observing, labelling and predicting: what is stored, what is not, and scikit-learn's spellings of it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from acclimate.edge import Learner

Bits = Callable[[Learner, np.ndarray], bytes]
Dump = Callable[[], list[str]]
Frames = tuple[np.ndarray, np.ndarray]


def test_predictions_are_labels_with_probabilities(learner: Learner, scenes: ModuleType) -> None:
    """Rows add up to 1, labels are those of the greatest probability, and a single frame needs no first axis."""
    x, _ = scenes.frames(20, 5, 1.0)
    found = learner.predict(x)
    assert found.classes == scenes.CLASSES
    assert found.probabilities.shape == (20, 4)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert found.labels.tolist() == [found.classes[i] for i in found.probabilities.argmax(axis=1)]
    np.testing.assert_allclose(learner.predict(x[3]).probabilities, found.probabilities[3:4], atol=1e-5)


def test_score_is_the_share_that_is_right(learner: Learner, scenes: ModuleType) -> None:
    """The score equals the mean of predicted label equal to given label; unknown and missing labels count as wrong."""
    x, y = scenes.frames(50, 5, 1.0)
    found = learner.predict(x).labels
    assert learner.score(x, y) == np.mean(found == y)
    assert learner.score(x, ["crack"] * 50) == 0
    assert learner.score(x[:2], [str(found[0]), None]) == 0.5


def test_predicting_stores_nothing(learner: Learner, scenes: ModuleType, dump: Dump) -> None:
    """Frames that are only predicted leave no trace."""
    before = dump()
    learner.predict(scenes.frames(20, 5)[0])
    learner.score(*scenes.frames(20, 5))
    assert dump() == before


def test_whole_numbers_are_names(learner: Learner, scenes: ModuleType) -> None:
    """Integer labels stand for their decimal names, Python's and numpy's alike."""
    x, _ = scenes.frames(4, 5)
    learner.observe(x, [3, np.int64(3), "3", np.uint8(7)])
    assert learner.classes == (*scenes.CLASSES, "3", "7")


def test_labels_may_come_later(learner: Learner, tiny_bundle: Path, scenes: ModuleType, bits: Bits) -> None:
    """Observing first and labelling afterwards gives the head that observing with labels gives."""
    x, y = scenes.frames(80, 2, 1.0)
    ids = learner.observe(x)
    assert learner.samples == (80, 0)
    learner.label(ids, y)
    assert learner.samples == (80, 80)
    learner.adapt()
    with Learner.open(tiny_bundle, threads=1) as other:
        other.observe(x, y)
        other.adapt()
        assert bits(other, x) == bits(learner, x)


def test_labels_taken_away_leave_no_trace(learner: Learner, tiny_bundle: Path, scenes: ModuleType, bits: Bits) -> None:
    """Samples whose labels were taken away, or that never had one, have no part in an adaptation."""
    x, y = scenes.frames(80, 2, 1.0)
    ids = learner.observe(x, [*y[:60], *["moss"] * 20])
    learner.label(ids[60:], [None] * 20)
    learner.adapt()
    with Learner.open(tiny_bundle, threads=1) as other:
        other.observe(x[:60], y[:60])
        other.adapt()
        assert bits(other, x) == bits(learner, x)


def test_fit_is_observe_and_adapt(learner: Learner, tiny_bundle: Path, scenes: ModuleType, bits: Bits) -> None:
    """scikit-learn's spelling does the same; it returns the learner, and fitting again adds no sample."""
    x, y = scenes.frames(80, 2, 1.0)
    assert learner.fit(x, y) is learner
    with Learner.open(tiny_bundle, threads=1) as other:
        other.observe(x, y)
        other.adapt(on_insufficient="apply")
        assert bits(other, x) == bits(learner, x)
    learner.fit(x, y)
    assert learner.samples == (80, 80)


def test_fit_takes_the_labels_given_now(learner: Learner, scenes: ModuleType) -> None:
    """Frames that were stored without a label, or with a wrong one, take the label that `fit` is called with."""
    x, y = scenes.frames(80, 2, 1.0)
    learner.observe(x[:40])
    learner.observe(x[40:], np.roll(y[40:], 1))
    learner.fit(x, y)
    assert learner.samples == (80, 80)
    assert learner.score(*scenes.frames(400, 99, 1.0)) > 0.88


def test_duplicates_can_be_skipped(learner: Learner, scenes: ModuleType, dump: Dump) -> None:
    """Skipping returns the ids of what is stored, in the order of the call, and changes neither labels nor classes."""
    x, y = scenes.frames(6, 2)
    first = learner.observe(x[:4], y[:4])
    before = dump()
    assert learner.observe(x[[2, 0, 0]], ["crack"] * 3, on_duplicate="skip").tolist() == [first[2], first[0], first[0]]
    assert dump() == before
    mixed = learner.observe(x[[5, 1, 4, 5]], [y[5], y[1], y[4], y[5]], on_duplicate="skip")
    assert mixed.tolist() == [5, first[1], 6, 5]
    assert learner.samples == (6, 6)


def test_duplicates_can_be_relabelled(learner: Learner, scenes: ModuleType) -> None:
    """Relabelling gives stored frames the label of the call, and leaves those alone for which it has none."""
    x, _ = scenes.frames(5, 2)
    learner.observe(x[:4], ["moss", "moss", "moss", None])
    learner.observe(x, ["bark", None, "crack", "brick", "gravel"], on_duplicate="relabel")
    names = dict(enumerate(learner.classes))
    found = learner._session.store.labelled()
    assert [names[int(c)] for c in found.classes] == ["bark", "moss", "crack", "brick", "gravel"]
    assert learner.samples == (5, 5)
