"""A learner trains the last blocks where heads fall short, by the guard and within the budget."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.adaptation import adapt
from acclimate.edge.tail import attempt, run, task
from acclimate.edge.tail.fit import OutOfTime
from acclimate.errors import BackendError, BudgetError, InputError
from acclimate.manifest import Runtime

from .learners import in_use
from .tail_world import TRAINED_ON, open_tail, pairs

pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
X, Y = TRAINED_ON
N = len(X)
FRESH, TRUTH = pairs(400, 77)


@pytest.fixture
def learner(tail_learner: Learner) -> Learner:
    """Return a learner in whose store version 1 is the best head and version 2, in use, a tail."""
    return tail_learner


def test_the_tail_beats_the_best_head(learner: Learner) -> None:
    """What head and tail were promised to get right on held-out samples holds on new ones, and the tail gets more."""
    (_, head, tail) = learner.versions()
    assert tail.current
    assert tail.summary.startswith("applied (tail")
    scores = {tail.number: learner.score(FRESH, TRUTH)}
    learner.rollback()
    scores[head.number] = learner.score(FRESH, TRUTH)
    assert scores[tail.number] > scores[head.number] + 0.05
    assert scores[tail.number] > 0.95
    learner.rollback(tail.number)
    assert learner.score(FRESH, TRUTH) == scores[tail.number]


def test_the_report_says_what_the_tail_gained(tail_bundle: Path) -> None:
    """Accuracies before and after, the gain and the seconds are told, and that the source was not asked."""
    with open_tail(tail_bundle) as learner:
        learner.observe(X, Y)
        told: list[tuple[int, int]] = []
        report = learner.adapt(tail=True, progress=lambda done, of: told.append((done, of)))
    tail = report.tail
    assert tail is not None
    assert report.applied
    assert tail.used
    assert report.after == tail.after > tail.before + 0.05
    assert 0 < tail.seconds < report.seconds
    assert "cannot be asked" in report.reason
    assert report.probe is None
    assert json.loads(json.dumps(report.to_dict()))["tail"]["rounds"] == tail.rounds
    assert told[-1][0] == told[-1][1]


def test_equal_samples_give_equal_tails(tail_bundle: Path, tail_runtime: Runtime) -> None:
    """Two devices with the same samples have the same weights, to the bit."""
    heads = []
    for _ in range(2):
        with open_tail(tail_bundle, runtime=tail_runtime) as learner:
            learner.observe(X[:60], Y[:60])
            learner.adapt(tail=True)
            heads.append(learner._session.store.version(learner.versions()[-1].number).head)
    assert heads[0] == heads[1]


def test_nothing_is_trained_unless_a_head_is_not_enough(tail_bundle: Path) -> None:
    """By default the tail is left alone where nothing says that heads fall short; False never trains it."""
    wishes: tuple[Literal["auto"] | bool, ...] = ("auto", False)
    for tail in wishes:
        with open_tail(tail_bundle) as learner:
            learner.observe(X[:40], Y[:40])
            report = learner.adapt(tail=tail)
            assert report.tail is None
            assert in_use(learner).tail is None


def test_a_tail_is_refused_where_there_is_none(tiny_bundle: Path) -> None:
    """Asking a bundle without a tail for one, or for something else, is an error before anything is done."""
    with Learner.open(tiny_bundle, threads=1) as learner:
        with pytest.raises(InputError, match="a bundle with a tail"):
            learner.adapt(tail=True)
        with pytest.raises(InputError, match="'auto', True or False"):
            learner.adapt(tail="yes")  # type: ignore[arg-type]  # the point of the test


def test_a_tail_is_trained_where_heads_are_not_enough(
    tail_bundle: Path, tail_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the tail is tried where the report says that no head is enough; one that does not run is left out."""
    monkeypatch.setattr(adapt, "is_enough", lambda *_: False)
    with open_tail(tail_bundle, runtime=tail_runtime) as learner:
        learner.observe(X, Y)
        assert learner._session.tail is not None
        learner._session.tail = replace(learner._session.tail, forward=b"nothing")
        report = learner.adapt()
        assert report.tail is not None
        assert "not trained" in report.tail.reason
        assert report.applied
        with pytest.raises(BackendError):
            learner.adapt(tail=True)
        del learner._session.tail
        learner._session.loaded = None
        report = learner.adapt(on_insufficient="apply")
        assert report.tail is not None
        assert report.tail.used


def test_what_is_forgotten_meanwhile_is_trained_on_by_nothing(tail_bundle: Path) -> None:
    """A sample that goes while the tail is trained begins all anew without it, wherever the maps are."""
    for kept in (2**26, 0):
        with open_tail(tail_bundle) as learner, pytest.MonkeyPatch.context() as patched:
            patched.setattr(run, "KEPT", kept)
            ids = learner.observe(X, Y)

            def forget(done: int, of: int, learner: Learner = learner, gone: int = int(ids[7])) -> None:
                if of > 50 and gone in learner._session.store.ids():
                    learner.forget([gone])

            report = learner.adapt(tail=True, progress=forget)
            assert report.samples == N - 1
            assert ids[7] not in in_use(learner).head.judged
            assert in_use(learner).tail is not None


def test_what_has_no_samples_or_is_frozen_is_not_trained_against(
    tail_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen class keeps its row, and is still told; so is one that is not shown here, if less well."""
    monkeypatch.setattr(attempt, "against_head", lambda *_: None)
    x, y = scenes.frames(160, 2, 0.0)
    shown = np.isin(y, ["bark", "brick", "moss"])
    with Learner.open(tail_bundle, threads=1) as learner:
        learner.classes.freeze("bark")
        learner.observe(x[shown], y[shown])
        learner.adapt(tail=True, on_insufficient="apply", max_forgetting=100)
        now, shipped = in_use(learner), learner._session.tail
        assert now.tail is not None
        assert shipped is not None
        rows, before = now.tail.head.parameters["head.weight"], shipped.parameters["head.weight"]
        assert now.names == ("bark", "brick", "gravel", "moss")
        # But for the temperature, which is that of the whole layer.
        scale = float(rows[0] @ before[0] / (before[0] @ before[0]))
        assert np.allclose(rows[0], scale * before[0], rtol=2e-3, atol=1e-3)
        assert not np.allclose(rows[1], scale * before[1], atol=1e-2)
        fresh, truth = scenes.frames(400, 9, 0.0)
        shown = truth != "gravel"
        assert learner.score(fresh[shown], truth[shown]) > 0.9
        # What nothing here shows is not trained against, and still known for the most part by its shipped row.
        assert learner.score(fresh[~shown], truth[~shown]) > 0.3


def test_a_class_that_nothing_here_shows_keeps_the_head(
    tail_bundle: Path, scenes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default no tail is trained where a shipped class has no samples: it could be lost, and nobody would know."""
    monkeypatch.setattr(adapt, "is_enough", lambda *_: False)
    x, y = scenes.frames(160, 2, 1.0)
    with Learner.open(tail_bundle, threads=1) as learner:
        learner.observe(x[y != "gravel"], y[y != "gravel"])
        report = learner.adapt()
        assert report.tail is not None
        assert "whether it still knows gravel" in report.tail.reason
        assert report.tail.seconds == 0


def test_a_head_that_is_as_good_stays(tail_bundle: Path) -> None:
    """Classes that any head tells apart keep the head, and the report says why."""
    x = np.concatenate([np.full((30, 8, 8, 1), 40), np.full((30, 8, 8, 1), 200)])
    frames = np.clip(x + np.random.default_rng(0).normal(0, 10, x.shape), 0, 255).astype(np.uint8)
    with open_tail(tail_bundle) as learner:
        learner.observe(frames, ["dark"] * 30 + ["light"] * 30)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert not report.tail.used
        assert "not better than the best head" in report.reason
        assert in_use(learner).tail is None


def test_a_tail_that_would_lose_a_class_is_left_alone(tail_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the draws of a class that nothing here shows go to another one, the head stays, and the report says so."""
    monkeypatch.setattr(attempt, "lost", lambda *_: "The tail would no longer know moss.")
    with open_tail(tail_bundle) as learner:
        learner.observe(X, Y)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert not report.tail.used
        assert "no longer know moss" in report.reason
        assert in_use(learner).tail is None


def test_cancelling_changes_nothing(learner: Learner) -> None:
    """What the progress raises during the training of the tail comes out, and the store is as it was."""

    def stop(done: int, of: int) -> None:
        if of > 50:
            raise KeyboardInterrupt

    before = learner.versions()
    with pytest.raises(KeyboardInterrupt):
        learner.adapt(tail=True, progress=stop)
    assert learner.versions() == before


def test_the_budget_is_kept(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time the tail is left out and the report says so; without memory a tail that was asked for is refused."""

    def late(*_: object, **__: object) -> None:
        raise OutOfTime

    with monkeypatch.context() as patched:
        patched.setattr(task, "courses", late)
        report = learner.adapt(tail=True, max_seconds=60)
    assert report.tail is not None
    assert not report.tail.used
    assert "no time" in report.reason
    with pytest.raises(BudgetError, match="training the tail needs"):
        learner.adapt(tail=True, max_memory_mb=learner.estimate().memory / 1e6 + 1)
    estimate = learner.estimate()
    assert estimate.tail_seconds > 0
    assert estimate.tail_memory > 1e6
