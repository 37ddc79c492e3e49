"""A version with a tail lives as every other one does: it predicts, is changed, forgotten and exported."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.adaptation.run import situation
from acclimate.edge.tail import task
from acclimate.edge.tail.held_out import hold_out
from acclimate.errors import InputError

from .learners import in_use
from .tail_world import TRAINED_ON, open_tail, pairs

pytest.importorskip("onnxruntime", reason="a tail runs in onnxruntime")
X, Y = TRAINED_ON
N = len(X)
FRESH, TRUTH = pairs(400, 77)
# Maps of these leave the range of the codes.
FAR = np.random.default_rng(5).integers(0, 2, (60, 8, 8, 1), dtype=np.uint8) * np.uint8(255)


@pytest.fixture
def learner(tail_learner: Learner) -> Learner:
    """Return a learner in whose store version 1 is the best head and version 2, in use, a tail."""
    return tail_learner


def test_float16_is_stored_where_it_changes_nothing(learner: Learner) -> None:
    """The version's parameters are rounded, and take half the room."""
    content = learner._session.store.version(2).head
    assert b'"tail.f2.' in content[:4096]


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


def test_probabilities_have_the_temperature_that_held_out_samples_ask_for(
    tail_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits are divided by it: at a very high one, nothing is sure."""
    monkeypatch.setattr(task, "hold_out", lambda *given: replace(hold_out(*given), temperature=1e4))
    with open_tail(tail_bundle) as learner:
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
        pytest.skip("test_learner_tail_tflite.py does the same in LiteRT")

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


def test_a_device_with_a_head_loads_nothing_of_the_tail(tail_bundle: Path) -> None:
    """Opening a bundle with a tail and predicting by its shipped head imports no module of the tail."""
    code = (
        "import sys, numpy as np\nfrom acclimate.edge import Learner\n"
        "learner = Learner.open(sys.argv[1], threads=1)\nlearner.predict(np.zeros((2, 8, 8, 1), np.uint8))\n"
        "print([name for name in sys.modules if 'edge.tail' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tail_bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
