"""A learner trains the last blocks where heads fall short, and a version with a tail lives as every other one does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.adaptation import adapt
from acclimate.edge.adaptation.run import situation
from acclimate.edge.runtime.runtime import installed
from acclimate.edge.tail import attempt, run, task
from acclimate.edge.tail.fit import OutOfTime
from acclimate.edge.tail.held_out import hold_out
from acclimate.errors import BackendError, BudgetError, InputError
from acclimate.manifest import Runtime

from .learners import in_use
from .tail_world import CLASSES, pairs

pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
N = 120
X, Y = pairs(N, 2)
FRESH, TRUTH = pairs(400, 77)
# Maps of these leave the range of the codes.
FAR = np.random.default_rng(5).integers(0, 2, (60, 8, 8, 1), dtype=np.uint8) * np.uint8(255)


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Return each runtime that a tail may train in."""
    chosen: Runtime = request.param
    if installed(chosen) is None:
        pytest.skip(f"acclimate[{chosen}] is not installed")
    return chosen


def opened(bundle: Path, store: Path | None = None, runtime: Runtime = "onnx") -> Learner:
    """Open the bundle with a tail, with the classes of the planted world alone."""
    learner = Learner.open(bundle, store, threads=1, runtime=runtime)
    for name in set(learner.classes) - set(CLASSES):
        learner.classes.remove(name)
    return learner


@pytest.fixture(scope="module")
def stored(tail_bundle: Path, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which version 1 is the best head and version 2 a tail."""
    path = tmp_path_factory.mktemp("tail") / "trained.db"
    with opened(tail_bundle, path, runtime) as learner:
        learner.observe(X, Y, tags=[f"t{i % 12}" for i in range(N)])
        learner.adapt(tail=False)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert report.tail.used
    return path


@pytest.fixture
def learner(tail_bundle: Path, stored: Path, tmp_path: Path) -> Iterator[Learner]:
    """Open a copy of that store."""
    copy = tmp_path / "device.db"
    copy.write_bytes(stored.read_bytes())
    with Learner.open(tail_bundle, copy, threads=1) as one:
        yield one


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
    with opened(tail_bundle) as learner:
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


def test_equal_samples_give_equal_tails(tail_bundle: Path, runtime: Runtime) -> None:
    """Two devices with the same samples have the same weights, to the bit."""
    heads = []
    for _ in range(2):
        with opened(tail_bundle, runtime=runtime) as learner:
            learner.observe(X[:60], Y[:60])
            learner.adapt(tail=True)
            heads.append(learner._session.store.version(learner.versions()[-1].number).head)
    assert heads[0] == heads[1]


def test_nothing_is_trained_unless_a_head_is_not_enough(tail_bundle: Path) -> None:
    """By default the tail is left alone where nothing says that heads fall short; False never trains it."""
    wishes: tuple[Literal["auto"] | bool, ...] = ("auto", False)
    for tail in wishes:
        with opened(tail_bundle) as learner:
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
    tail_bundle: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the tail is tried where the report says that no head is enough; one that does not run is left out."""
    monkeypatch.setattr(adapt, "is_enough", lambda *_: False)
    with opened(tail_bundle, runtime=runtime) as learner:
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
        with opened(tail_bundle) as learner, pytest.MonkeyPatch.context() as patched:
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


def test_float16_is_stored_where_it_changes_nothing(learner: Learner) -> None:
    """The version's parameters are rounded, and take half the room."""
    content = learner._session.store.version(2).head
    assert b'"tail.f2.' in content[:4096]


def test_a_head_that_is_as_good_stays(tail_bundle: Path) -> None:
    """Classes that any head tells apart keep the head, and the report says why."""
    x = np.concatenate([np.full((30, 8, 8, 1), 40), np.full((30, 8, 8, 1), 200)])
    frames = np.clip(x + np.random.default_rng(0).normal(0, 10, x.shape), 0, 255).astype(np.uint8)
    with opened(tail_bundle) as learner:
        learner.observe(frames, ["dark"] * 30 + ["light"] * 30)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert not report.tail.used
        assert "not better than the best head" in report.reason
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


def test_adapting_again_compares_with_the_tail(learner: Learner) -> None:
    """A head that is worse than the tail in use is not applied; new samples are asked of the tail, not of its head."""
    report = learner.adapt(tail=False)
    assert not report.applied
    assert report.before > report.after + 0.05
    frames, labels = pairs(60, 5)
    ids = learner.observe(frames, labels)
    now, session = situation(learner._session, 2), learner._session
    assert now.current is not None
    found = now.current.held_out(ids, session.code.decode(session.store.samples(ids).codes))
    assert [now.names[int(i)] for i in found] == learner.predict(frames).labels.tolist()
    again = learner.adapt(tail=False)
    assert not again.applied
    assert again.before > again.after + 0.05
    assert in_use(learner).tail is not None


def test_a_tail_that_would_lose_a_class_is_left_alone(tail_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the draws of a class that nothing here shows go to another one, the head stays, and the report says so."""
    monkeypatch.setattr(attempt, "lost", lambda *_: "The tail would no longer know moss.")
    with opened(tail_bundle) as learner:
        learner.observe(X, Y)
        report = learner.adapt(tail=True)
        assert report.tail is not None
        assert not report.tail.used
        assert "no longer know moss" in report.reason
        assert in_use(learner).tail is None


def test_probabilities_have_the_temperature_that_held_out_samples_ask_for(
    tail_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits are divided by it: at a very high one, nothing is sure."""
    monkeypatch.setattr(task, "hold_out", lambda *given: replace(hold_out(*given), temperature=1e4))
    with opened(tail_bundle) as learner:
        learner.observe(X, Y)
        learner.adapt(tail=True)
        assert in_use(learner).tail is not None
        found = learner.predict(FRESH)
        assert found.probabilities.max() < 0.51
        assert np.mean(found.labels == TRUTH) > 0.9


def test_what_asks_the_head_asks_the_tail(learner: Learner) -> None:
    """Suggestions rank by what the tail is unsure of, which is what it predicts for the frames themselves."""
    ids = learner.observe(FRESH[:40])
    live = learner.predict(FRESH[:40])
    codes = in_use(learner).of_stored(learner._session, learner._session.store.samples(ids))
    assert np.abs(codes - live.probabilities).max() < 0.05
    two = np.sort(codes, axis=1)
    first = learner.suggest(1)[0]
    assert first == ids[(two[:, 1] - two[:, 0]).argmin()]
    one = np.concatenate([learner.predict(frame).probabilities for frame in FRESH[:40]])
    assert np.allclose(one, live.probabilities, atol=1e-5)
    assert learner.predict(np.full((8, 8, 1), 255, np.uint8)).unknown.shape == (1,)


def test_classes_that_change_after_the_tail(learner: Learner) -> None:
    """A renamed class answers by its new name, a new one is never predicted, a removed one is gone."""
    before = learner.predict(FRESH).probabilities
    learner.classes.rename("alike", "same")
    assert set(learner.predict(FRESH).classes) == {"same", "unlike"}
    learner.classes.add("other")
    assert np.array_equal(learner.predict(FRESH).probabilities, before)
    learner.classes.remove("unlike")
    assert np.allclose(learner.predict(FRESH).probabilities, 1)


def test_forgetting_a_sample_takes_the_tail_along(learner: Learner, tmp_path: Path) -> None:
    """The version is erased with the sample, its weights are in no file, and a head of the rest serves."""
    now = in_use(learner)
    assert now.tail is not None
    weights = now.tail.head.parameters["stage3.0.weight"].astype(np.float16).tobytes()[:64]
    path = tmp_path / "device.db"
    assert weights in path.read_bytes()
    gone = learner.forget(tag="t3")
    assert gone.versions == 2
    assert in_use(learner).tail is None
    assert all(not version.summary.startswith("applied (tail") for version in learner.versions())
    learner.close()
    assert weights not in path.read_bytes()


def test_partial_fit_trains_the_tail_again(learner: Learner) -> None:
    """Samples that come to a tail make a tail."""
    learner.partial_fit(*pairs(40, 9))
    now = in_use(learner)
    assert now.tail is not None
    assert len(now.head.judged) == N + 40


def test_an_update_is_refused(learner: Learner, tmp_path: Path) -> None:
    """A tail does not go into an update, and the message says what can be done."""
    with pytest.raises(InputError, match="trained tail"):
        learner.save_update(tmp_path / "one.accu")
    assert not (tmp_path / "one.accu").exists()


def test_the_exported_model_says_what_the_learner_says(learner: Learner, tmp_path: Path) -> None:
    """Whatever became of the classes, plain ONNX Runtime gives the same probabilities and names."""
    import onnxruntime

    if learner._session.runtime != "onnx":
        pytest.skip("only in ONNX is a tail exported")

    def check(name: str) -> None:
        learner.export(tmp_path / name)
        session = onnxruntime.InferenceSession((tmp_path / name).read_bytes(), providers=["CPUExecutionProvider"])
        frames = np.concatenate([FRESH, FAR])
        live = learner.predict(frames)
        (found,) = session.run(["probabilities"], {session.get_inputs()[0].name: frames})
        (logits,) = session.run(["logits"], {session.get_inputs()[0].name: frames})
        assert tuple(json.loads(session.get_modelmeta().custom_metadata_map["acclimate.classes"])) == live.classes
        assert np.abs(found - live.probabilities).max() < 1e-3
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        assert np.allclose(powers / powers.sum(axis=1, keepdims=True), found, atol=1e-5)

    check("plain.onnx")
    learner.classes.merge(["alike", "unlike"], "any")
    check("merged.onnx")
    with pytest.raises(InputError, match=r"\.onnx"):
        learner.export(tmp_path / "one.tflite")
    learner.rollback()
    check("head.onnx")


def test_in_litert_a_tail_is_not_exported_but_a_head_is(learner: Learner, tmp_path: Path) -> None:
    """The message says what can be done; a head of the same store is, though its backbone gives maps too."""
    if learner._session.runtime != "tflite":
        pytest.skip("in ONNX a tail is exported")
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "one.tflite"
    with pytest.raises(InputError, match="runtime='onnx'"):
        learner.export(path)
    assert not path.exists()
    learner.rollback()
    learner.export(path)
    interpreter = Interpreter(model_path=str(path))
    (given,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], FRESH.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], FRESH)
    interpreter.invoke()
    found = interpreter.get_tensor(probabilities["index"])
    assert np.abs(found - learner.predict(FRESH).probabilities).max() < 1e-3


def test_a_device_with_a_head_loads_nothing_of_the_tail(tail_bundle: Path) -> None:
    """Opening a bundle with a tail and predicting by its shipped head imports no module of the tail."""
    code = (
        "import sys, numpy as np\nfrom acclimate.edge import Learner\n"
        "learner = Learner.open(sys.argv[1], threads=1)\nlearner.predict(np.zeros((2, 8, 8, 1), np.uint8))\n"
        "print([name for name in sys.modules if 'edge.tail' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tail_bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
