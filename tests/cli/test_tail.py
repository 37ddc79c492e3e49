"""`acclimate adapt --tail`: the last blocks are trained on the device, and the report says what that gave."""

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner

from .conftest import Acclimate

pytest.importorskip("onnxruntime", reason="a tail needs ONNX Runtime")


@pytest.fixture
def place(tail_bundle: Path, scenes: ModuleType, tmp_path: Path) -> Path:
    """A folder with the bundle that has a tail, and a store with samples of another place."""
    shutil.copy(tail_bundle, tmp_path / "tail.acc")
    frames, labels = scenes.frames(80, 1, 1.0)
    with Learner.open(tmp_path / "tail.acc", tmp_path / "tail.db", threads=1) as learner:
        learner.observe(frames, labels)
    return tmp_path


def test_the_tail_is_trained_when_asked_for(place: Path, acclimate: Acclimate) -> None:
    """`--tail` tells what became of it, in words and in JSON; `--no-tail` trains heads alone."""
    told = acclimate("adapt", place / "tail.acc", "--tail")
    assert "tail: " in told.output
    found = acclimate("adapt", place / "tail.acc", "--tail", "--json").json()["tail"]
    assert np.isfinite([found["before"], found["after"], found["seconds"]]).all()
    assert found["reason"]
    assert acclimate("adapt", place / "tail.acc", "--no-tail", "--json").json()["tail"] is None


def test_a_bundle_without_a_tail_says_so(
    tiny_bundle: Path, scenes: ModuleType, tmp_path: Path, acclimate: Acclimate
) -> None:
    """One line that says what to do, and nothing is changed."""
    shutil.copy(tiny_bundle, tmp_path / "tiny.acc")
    with Learner.open(tmp_path / "tiny.acc", tmp_path / "tiny.db", threads=1) as learner:
        learner.observe(*scenes.frames(40, 1, 1.0))
    told = acclimate("adapt", tmp_path / "tiny.acc", "--tail")
    assert told.code == 1
    assert "tail" in told.errors
    assert len(told.errors.splitlines()) <= 3
