"""Bundles that lack a head, a source or a runtime: the learner makes do with what there is, or says what is missing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.bundle import Bundle
from acclimate.edge import Learner
from acclimate.edge.runtime.runtime import installed
from acclimate.errors import StoreMismatchError
from acclimate.manifest import RUNTIMES, Runtime

Remake = Callable[..., Path]
Frames = tuple[np.ndarray, np.ndarray]


def test_a_bundle_without_a_head_learns_from_its_source(remake: Remake, scenes: ModuleType) -> None:
    """With source statistics and no head, shipped classes without samples are known after the first adaptation."""
    x, y = scenes.frames(40, 2)
    rows = y != "moss"
    with Learner.open(remake(head=None), threads=1) as learner:
        learner.observe(x[rows], y[rows])
        report = learner.adapt()
        assert report.applied
        assert report.reason == "There was no head before. No sample tells how well it knows moss here."
        assert report.unjudged == ("moss",)
        assert np.isnan(report.before)
        assert learner.score(*scenes.frames(400, 98)) > 0.9
        assert learner.versions()[0].summary == "no head was shipped"


def test_a_bundle_without_head_and_source_takes_its_classes_from_the_device(remake: Remake, scenes: ModuleType) -> None:
    """With neither, the classes are those that were labelled; going back to nothing predicts nothing."""
    x, y = scenes.frames(60, 2)
    with Learner.open(remake(head=None, source=None, classes=()), threads=1) as learner:
        learner.fit(x, y)
        assert sorted(learner.predict(x).classes) == list(scenes.CLASSES)
        assert learner.score(*scenes.frames(400, 98)) > 0.8
        assert learner.rollback() == 0
        with pytest.raises(ValueError, match="expected a head to predict with, found none"):
            learner.predict(x)


def test_a_bundle_without_source_still_adapts(remake: Remake, scenes: ModuleType) -> None:
    """The shipped head alone serves as prior; no setting with a source is tried."""
    with Learner.open(remake(source=None), threads=1) as learner:
        learner.observe(*scenes.frames(160, 2, 1.0))
        report = learner.adapt()
        assert report.applied
        assert {trial.setting.source_weight for trial in report.trials} == {0}
        assert {trial.setting.prior for trial in report.trials} == {"none", "shipped"}
        assert learner.score(*scenes.frames(400, 99, 1.0)) > 0.8


def test_one_sample_a_class_can_be_applied(remake: Remake, scenes: ModuleType) -> None:
    """With one sample a class and no source nothing can be held out; the first head is applied all the same."""
    x, y = scenes.frames(4, 2)
    with Learner.open(remake(head=None, source=None, classes=()), threads=1) as learner:
        learner.observe(x, y)
        report = learner.adapt()
        assert report.applied
        assert report.folds == 0
        assert learner.score(x, y) == 1


@pytest.fixture
def both(tiny_bundle: Path) -> Iterator[Bundle]:
    """Return the bundle where both runtimes are installed."""
    if None in [installed(name) for name in RUNTIMES]:
        pytest.skip("one of the two runtimes is not installed")
    with Bundle(tiny_bundle) as bundle:
        yield bundle


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("made_with", RUNTIMES)
def test_auto_prefers_what_the_store_was_made_with(tiny_bundle: Path, tmp_path: Path, made_with: Runtime) -> None:
    """A store made with one runtime is opened with it again, whichever else is installed."""
    with Learner.open(tiny_bundle, tmp_path / "device.db", runtime=made_with, threads=1) as learner:
        description = learner.runtime
    with Learner.open(tiny_bundle, tmp_path / "device.db", threads=1) as again:
        assert again.runtime == description


@pytest.mark.usefixtures("both")
def test_the_other_runtimes_store_is_refused_by_name(tiny_bundle: Path, tmp_path: Path) -> None:
    """Latents of two runtimes are never mixed, even if they are of the same bundle."""
    Learner.open(tiny_bundle, tmp_path / "device.db", runtime="tflite", threads=1).close()
    with pytest.raises(StoreMismatchError, match=r"latents of backbone .* Open it with the bundle and runtime it was"):
        Learner.open(tiny_bundle, tmp_path / "device.db", runtime="onnx", threads=1)


def test_without_a_runtime_the_extras_are_named(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no runtime is installed, the error is an ImportError with the commands to run, and no store is made."""
    monkeypatch.setattr("acclimate.edge.runtime.runtime.find_spec", lambda name: None)
    message = (
        r"tiny\.acc needs an inference runtime for onnx or tflite.* pip install 'acclimate\[onnx\]' or pip install"
    )
    with pytest.raises(ImportError, match=message):
        Learner.open(tiny_bundle, tmp_path / "device.db")
    assert not (tmp_path / "device.db").exists()
