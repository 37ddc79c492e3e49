"""`acclimate demo`: the whole way. The issue's goals are checked on what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge import Learner

from .conftest import Acclimate

pytest.importorskip("torch", reason="torch, which the demo needs, is not installed")


def test_it_refuses_a_folder_that_is_not_empty(acclimate: Acclimate, tmp_path: Path) -> None:
    """What lies in the folder is not overwritten unless asked, and it is refused before long work starts."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    refused = acclimate("demo", "--out", "out")
    assert refused.code == 1
    assert "--overwrite" in refused.errors
    assert acclimate("demo", "--out", "out/mine.txt").code == 1


@pytest.mark.slow
def test_the_demo_reaches_its_goals(acclimate: Acclimate, tmp_path: Path) -> None:
    """With 20 a class both runtimes reach .95 and scikit-learn's LogisticRegressionCV, on a device without torch."""
    made = acclimate("demo", "--out", "out", "--json")
    assert made.code == 0, made.errors
    out = tmp_path / "out"
    summary = json.loads((out / "demo.json").read_text())
    assert made.json() == summary
    for runtime in ("onnx", "tflite"):
        last = summary["tables"][runtime][-1]
        assert last["budget"] == 20
        assert last["after"] >= 0.95
        assert last["after"] >= last["reference"]
        assert last["after"] > last["before"]
        runs = [run["after"] for run in summary["runs"][runtime] if run["budget"] == 20]
        assert len(runs) == 5
        assert np.isclose(np.mean(runs), last["after"])
    assert {path.name for path in out.iterdir()} >= {"demo.acc", "demo.db", "demo.json", "report.html", "teacher"}
    assert "UCI digits" in (out / "report.html").read_text()
    with Learner.open(out / "demo.acc", out / "demo.db", runtime="onnx") as learner:
        assert learner.samples == (200, 200)
        assert any(version.current and version.number > 0 for version in learner.versions())
