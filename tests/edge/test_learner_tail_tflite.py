"""In LiteRT a version with a tail is exported as one file that says what the learner says."""

import io
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import installed
from acclimate.edge.tail import attempt
from acclimate.errors import InputError, OutputExistsError

from .learners import in_use
from .tail_world import pairs

RUNTIME = installed("tflite")
pytestmark = pytest.mark.skipif(RUNTIME is None, reason="no TFLite runtime is installed")
X, Y = pairs(100, 2)
# Maps of the last ones leave the range of the codes.
FRESH = np.concatenate([pairs(200, 77)[0], np.random.default_rng(5).integers(0, 2, (60, 8, 8, 1), np.uint8) * 255])


def opened(bundle: Path, store: Path) -> Learner:
    return Learner.open(bundle, store, threads=1, runtime="tflite")


@pytest.fixture(scope="module")
def stored(tail_bundle: Path, scenes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a head and then a tail, of shipped classes and three more."""
    path = tmp_path_factory.mktemp("tail") / "trained.db"
    x, y = scenes.frames(60, 2, 0.0)
    with pytest.MonkeyPatch.context() as patched, opened(tail_bundle, path) as learner:
        patched.setattr(attempt, "against_head", lambda *_: None)
        learner.observe(np.concatenate([X, x]), np.concatenate([Y, y]))
        learner.adapt(tail=False, on_insufficient="apply", max_forgetting=100)
        learner.adapt(tail=True, on_insufficient="apply", max_forgetting=100)
        assert in_use(learner).tail is not None
    return path


@pytest.fixture
def learner(tail_bundle: Path, stored: Path, tmp_path: Path) -> Iterator[Learner]:
    """Open a copy of that store."""
    copy = tmp_path / "device.db"
    copy.write_bytes(stored.read_bytes())
    with opened(tail_bundle, copy) as one:
        yield one


def run(path: Path, frames: NDArray[np.uint8]) -> Any:
    """Run a file in the runtime, with nothing of ours."""
    interpreter = import_module(f"{RUNTIME}.interpreter").Interpreter(model_path=str(path), num_threads=1)
    return interpreter.get_signature_runner()(input=frames)["probabilities"]


def check(learner: Learner, path: Path) -> None:
    """Export, and compare with what the learner predicts for frames of all kinds."""
    learner.export(path)
    live = learner.predict(FRESH)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert tuple(archive.read("labels.txt").decode().splitlines()) == live.classes
    for n in (len(FRESH), 1, 7):
        found = run(path, FRESH[:n])
        np.testing.assert_allclose(found, live.probabilities[:n], atol=1e-5)
        np.testing.assert_array_equal(found.argmax(axis=1), live.probabilities[:n].argmax(axis=1))


def test_the_exported_tail_says_what_the_learner_says(learner: Learner, tmp_path: Path) -> None:
    """With added classes, merged, renamed and removed ones, and for the head before it: within 1e-5, in any batch."""
    assert set(learner.predict(FRESH).classes) == {"alike", "bark", "brick", "gravel", "moss", "unlike"}
    check(learner, tmp_path / "tail.tflite")
    learner.classes.merge(["alike", "unlike"], "pair")
    check(learner, tmp_path / "merged.tflite")
    learner.classes.rename("moss", "Moos")
    learner.classes.remove("bark")
    check(learner, tmp_path / "fewer.tflite")
    learner.rollback()
    assert in_use(learner).tail is None
    check(learner, tmp_path / "head.tflite")


def test_nothing_is_overwritten_and_nothing_half_written(learner: Learner, tmp_path: Path) -> None:
    """A file that is there stays, a name for the other runtime is refused, and so is a name that is no line."""
    path = tmp_path / "tail.tflite"
    check(learner, path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        learner.export(path)
    with pytest.raises(InputError, match=r"\.tflite"):
        learner.export(tmp_path / "tail.onnx")
    learner.export(path, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".db" and "-" not in p.name) == ["tail.tflite"]
