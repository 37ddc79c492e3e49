"""`acclimate adapt --tail`: the last blocks are trained on the device, and the report says what that gave."""

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate import Bundle
from acclimate.edge import Learner
from acclimate.edge.adaptation.run import check_tail
from acclimate.errors import InputError

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


def test_inspect_and_estimate_tell_of_the_tail(place: Path, acclimate: Acclimate) -> None:
    """Where it begins, how many values train, and what training costs; in words and in JSON."""
    with Bundle(place / "tail.acc") as bundle:
        tail, cut = bundle.tail("onnx"), bundle.manifest.tail
    assert tail is not None
    assert cut is not None
    trained = sum(values.size for values in tail.parameters.values())
    found = acclimate("inspect", place / "tail.acc", "--json").json()["tail"]
    assert found == {"cut": cut.cut, "shape": list(cut.shape), "axis": cut.axis, "parameters": trained}
    shape = "x".join(map(str, cut.shape))
    told = acclimate("inspect", place / "tail.acc").output
    assert f"behind {cut.cut}, from a map {shape}: {trained:,} parameters are trained" in told
    cost = acclimate("estimate", place / "tail.acc", "--json").json()
    assert cost["tail_seconds"] > 0
    assert cost["tail_memory"] > 0
    assert "training the tail, where it is trained, takes about" in acclimate("estimate", place / "tail.acc").output


def test_a_tail_of_the_other_variant_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant may lack the tail that another one has; then there is nothing to convert again."""
    with Learner.open(place / "tail.acc", None, threads=1) as learner:
        # As it is with a variant for TFLite beside this one.
        monkeypatch.setattr(learner._session, "map_code", None)
        with pytest.raises(InputError, match=r"found one for onnx alone in tail\.acc\. Open it with runtime='onnx'"):
            check_tail(learner._session, True)
