"""Reports: plain values and one line, with figures that can be reckoned anew from what the application has."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from acclimate.edge import Learner, Report

from .learners import Opening

N = 120


def every_value(value: Any) -> list[Any]:
    """Return all values inside lists and dictionaries."""
    if isinstance(value, dict):
        return [inner for item in value.values() for inner in every_value(item)]
    if isinstance(value, list):
        return [inner for item in value for inner in every_value(item)]
    return [value]


@pytest.fixture
def report(opening: Opening, scenes: ModuleType) -> Report:
    """Return the report of an adaptation to another place, with a class of four samples."""
    x, y = scenes.frames(N, 2, 1.0)
    learner = opening("device.db")
    learner.observe(x, y)
    learner.observe(255 - x[:4], ["crack"] * 4)
    return learner.adapt(on_insufficient="apply")


@pytest.mark.parametrize("kind", ["adapted", "kept", "first", "tiny"])
def test_a_report_is_plain_values(opening: Opening, remake: Any, scenes: ModuleType, kind: str) -> None:
    """Whatever was decided: JSON without NaN or infinity and back, and one line with verdict and reason."""
    bundle = {"bundle": remake(head=None, source=None, classes=())} if kind in ("first", "tiny") else {}
    learner = opening("device.db", **bundle)
    n = {"adapted": N, "kept": 8, "first": N, "tiny": 4}[kind]
    learner.observe(*scenes.frames(n, 2, 0.5 if kind == "kept" else 1.0))
    found = learner.adapt(on_insufficient="keep")
    assert found.applied == (kind != "kept")
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert all(value is None or isinstance(value, str | bool | int | float) for value in every_value(plain))
    assert plain["chosen"] == plain["trials"][0]
    line = str(found)
    assert "\n" not in line
    assert line.startswith("applied (" if found.applied else "not applied (")
    assert line.endswith(found.reason)
    assert learner.versions()[-1].summary == (line if found.applied else "as shipped")
    assert found.seconds > 0


def test_classes_are_told_apart(report: Report, scenes: ModuleType) -> None:
    """Every class has its own figures, which add up to those of all; a class that is new had no accuracy before."""
    changes = {change.name: change for change in report.judgement.classes}
    assert set(changes) == {*scenes.CLASSES, "crack"}
    assert changes["crack"].samples == 4
    assert np.isnan(changes["crack"].before)
    old = [change for name, change in changes.items() if name != "crack"]
    assert sum(change.samples for change in old) == report.judgement.judged == N
    assert sum(change.gained for change in old) == report.judgement.gained
    assert sum(change.lost for change in old) == report.judgement.lost
    for change in old:
        assert round((change.after - change.before) * change.samples) == change.gained - change.lost
    assert np.mean([change.before for change in old]) == pytest.approx(report.before)
    steps = [change.after - change.before for change in old]
    # Frames that hardly differ count as one.
    assert report.judgement.gain == pytest.approx(100 * np.mean(steps), abs=1)
    assert report.judgement.low <= report.judgement.gain <= report.judgement.high
    assert next(c for c in report.to_dict()["judgement"]["classes"] if c["name"] == "crack")["before"] is None


def test_the_source_is_asked(report: Report, opening: Opening, remake: Any, scenes: ModuleType) -> None:
    """With source statistics a report says what is kept of home; without them, nothing."""
    assert report.probe is not None
    assert report.probe.before > 0.9
    assert 0 < report.probe.after <= 1
    learner = opening("other.db", remake(source=None))
    learner.observe(*scenes.frames(N, 2, 1.0))
    assert learner.adapt().probe is None


def test_probabilities_are_calibrated(opening: Opening, scenes: ModuleType) -> None:
    """The error told is about that of further frames, and the temperature makes it less."""
    learner = opening("device.db")
    learner.observe(*scenes.frames(400, 2, 1.6))
    before, after = learner.adapt().calibration
    assert 0 <= after < before
    x, y = scenes.frames(2_000, 99, 1.6)
    found = learner.predict(x)
    sure, right = found.probabilities.max(axis=1), found.labels == y
    bins = np.minimum((sure * 15).astype(int), 14)
    error = sum(abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    assert error < 0.06
    assert abs(error - after) < 0.05


def test_weights_and_limits_are_told(adapted: Learner, tmp_path: Path) -> None:
    """The report names the setting, its trials best first, folds and classes without a sample."""
    found = adapted.adapt(on_insufficient="apply")
    assert found.folds == 5
    assert found.chosen == found.trials[0]
    rest = [trial.accuracy for trial in found.trials[1:]]
    assert rest == sorted(rest, reverse=True)
    assert found.samples == 60
    assert found.unjudged == ()
    adapted.forget(label="moss")
    again = adapted.adapt(on_insufficient="apply")
    assert again.unjudged == ("moss",)
    assert again.reason.endswith("No sample tells how well it knows moss here.") or "moss here." in again.reason
    assert again.samples == 45
