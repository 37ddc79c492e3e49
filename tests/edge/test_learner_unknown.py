"""What a learner does not know: frames unlike every class are told, at the stated rate of false alarms."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.unknown.fit import RATE

from .learners import Opening, fresh, until

N = 240


def far_away(n: int = 200) -> dict[str, np.ndarray]:
    """Return frames unlike every class: noise of full contrast, frames of one grey, checkerboards."""
    draw = np.random.default_rng(3)
    grey = np.repeat(np.linspace(0, 255, n), 64).reshape(n, 8, 8, 1)
    board = np.indices((8, 8)).sum(axis=0)[None, :, :, None] % 2 * 255 + draw.normal(0, 8, (n, 8, 8, 1))
    return {
        "noise": draw.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8),
        "grey": grey.astype(np.uint8),
        "boards": np.clip(board, 0, 255).astype(np.uint8),
    }


@pytest.fixture
def wary(opening: Opening, scenes: ModuleType) -> Learner:
    """Return a learner that has seen enough to tell what it does not know."""
    learner = opening("device.db")
    learner.observe(*scenes.frames(N, 2, 1.0))
    assert learner.adapt(on_insufficient="apply").unknown
    return learner


def test_what_is_known_is_called_unknown_at_the_stated_rate(wary: Learner, scenes: ModuleType) -> None:
    """Of 2,000 further frames of the place about one in twenty is called unknown: rather fewer than more."""
    share = wary.predict(scenes.frames(2_000, 99, 1.0)[0]).unknown.mean()
    assert 0.2 * RATE < share < 2 * RATE


@pytest.mark.parametrize("kind", far_away(1))
def test_what_is_far_away_is_unknown(wary: Learner, kind: str) -> None:
    """Most frames that show none of the classes are told, although the head is sure of many of them."""
    found = wary.predict(far_away()[kind])
    assert found.unknown.mean() > 0.8
    assert found.unknown.dtype == np.bool_
    assert found.unknown.shape == (200,)


def test_with_too_few_samples_nothing_is_unknown(opening: Opening, scenes: ModuleType) -> None:
    """Where the rate cannot be vouched for, no frame is called unknown, and the report says so."""
    learner = opening("device.db")
    learner.observe(*scenes.frames(16, 2, 1.0))
    report = learner.adapt(on_insufficient="apply")
    assert report.applied
    assert not report.unknown
    for frames in far_away(20).values():
        assert not learner.predict(frames).unknown.any()


def test_the_verdict_belongs_to_the_version(wary: Learner, opening: Opening, scenes: ModuleType) -> None:
    """It is the same bits after reopening, goes with a rollback and comes back with it."""
    frames = np.concatenate([*far_away(50).values(), scenes.frames(100, 99, 1.0)[0]])
    expected, shipped = wary.predict(frames).unknown, wary.rollback(0)
    before = wary.predict(frames).unknown
    wary.rollback(1)
    np.testing.assert_array_equal(wary.predict(frames).unknown, expected)
    again = opening("device.db")
    np.testing.assert_array_equal(again.predict(frames).unknown, expected)
    assert again.rollback() == shipped
    found = until(lambda: wary.predict(frames).unknown, lambda found: np.array_equal(found, before))
    np.testing.assert_array_equal(found, before)


def test_one_frame_gets_the_answer_that_it_has_among_others(wary: Learner, scenes: ModuleType) -> None:
    """Alone, a frame has the label and verdict that it has in a batch, and the probabilities to rounding."""
    frames = np.concatenate([*far_away(40).values(), scenes.frames(300, 99, 1.0)[0]])
    for merged in (False, True):
        if merged:
            wary.classes.merge(["bark", "moss"], "soft")
        expected = wary.predict(frames)
        found = [wary.predict(frame) for frame in frames]
        for name in ("labels", "unknown"):
            each = [getattr(one, name) for one in found]
            assert {(array.shape, array.dtype) for array in each} == {((1,), getattr(expected, name).dtype)}
            np.testing.assert_array_equal(np.concatenate(each), getattr(expected, name))
        assert {(one.probabilities.dtype, one.classes) for one in found} == {(np.dtype("f4"), expected.classes)}
        together = np.concatenate([one.probabilities for one in found])
        np.testing.assert_allclose(together, expected.probabilities, atol=1e-5)
        assert 0.1 < expected.unknown.mean() < 0.9


def test_an_answer_belongs_to_the_caller(wary: Learner, scenes: ModuleType) -> None:
    """Whoever writes into the arrays of a prediction changes no later one."""
    frame = scenes.frames(1, 99, 1.0)[0]
    first = wary.predict(frame)
    kept = (first.labels.copy(), first.probabilities.copy(), first.unknown.copy())
    first.labels[:], first.probabilities[:], first.unknown[:] = "x", 0, True
    again = wary.predict(frame)
    for array, before in zip((again.labels, again.probabilities, again.unknown), kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("name", ["gravel", "brick"])
def test_a_removed_class_becomes_unknown(wary: Learner, scenes: ModuleType, name: str) -> None:
    """What was known before is told several times as often, at once and after adapting; the other classes are not."""
    x, y = scenes.frames(800, 99, 1.0)
    own = y == name
    before = wary.predict(x).unknown
    wary.classes.remove(name)
    for _ in ("at once", "after adapting"):
        found = wary.predict(x).unknown
        assert found[own].mean() > max(0.3, 2.5 * before[own].mean())
        assert found[~own].mean() < 2 * RATE
        assert wary.adapt(on_insufficient="apply", max_forgetting=100).unknown


def test_merging_keeps_the_verdict(wary: Learner, scenes: ModuleType) -> None:
    """A merged class is known where one of its parts was: the verdict does not change with names."""
    frames = np.concatenate([far_away(100)["noise"], scenes.frames(300, 99, 1.0)[0]])
    before = wary.predict(frames).unknown
    wary.classes.merge(["bark", "moss"], "soft")
    wary.classes.rename("brick", "Ziegel")
    np.testing.assert_array_equal(wary.predict(frames).unknown, before)


def test_a_new_class_is_known_afterwards(wary: Learner) -> None:
    """Frames that were unknown are not any more, once they were labelled and learnt."""
    boards = far_away()["boards"]
    wary.observe(boards[:40], ["board"] * 40)
    wary.adapt(on_insufficient="apply")
    found = wary.predict(boards[40:])
    assert found.unknown.mean() < 0.2
    assert (found.labels == "board").mean() > 0.95
    assert wary.predict(far_away()["noise"]).unknown.mean() > 0.5


def test_forgetting_forgets_the_verdict(wary: Learner, opening: Opening, scenes: ModuleType, tmp_path: Path) -> None:
    """After forgetting, verdicts are those of a learner that never saw the samples; with few left, there is none."""
    x, y = scenes.frames(N, 2, 1.0)
    frames = np.concatenate([*far_away(50).values(), scenes.frames(300, 99, 1.0)[0]])
    wary.forget(np.arange(1, 61))
    other = fresh(opening(), x[60:], y[60:])
    np.testing.assert_array_equal(wary.predict(frames).unknown, other.predict(frames).unknown)
    assert wary.predict(frames).unknown.any()
