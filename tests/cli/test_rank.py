"""`acclimate rank`, as a user types it."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import Acclimate, Place

pytest.importorskip("torch", reason="torch, which the server side needs, is not installed")

pytestmark = pytest.mark.needs_torch

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Return the name of an untrained network, in the folder of the command."""
    (tmp_path / "model.py").write_text(MODEL)
    return "model.py:build"


def test_bundles_and_models_are_ranked_together(
    here: Acclimate, tiny_bundle: Path, tail_bundle: Path, place: Place, model: str
) -> None:
    """A trained bundle before an untrained network; the table says what the JSON does, and the page is written."""
    sources = (model, tiny_bundle, tail_bundle)
    found = here("rank", *sources, "--data", place.local, "--json")
    assert found.code == 0, found.errors
    told = found.json()
    assert [one["source"] for one in told["sources"]][-1] == model
    assert told["counted"] == ["accuracy", "logme", "h_score", "leep", "nce"]
    assert (told["samples"], told["classes"]) == (120, ["bark", "brick", "gravel", "moss"])
    best = told["sources"][0]
    assert best["expected_accuracy"]["low"] > told["sources"][-1]["expected_accuracy"]["high"]
    shown = here("rank", *sources, "--data", place.local, "--report", "ranking.html")
    assert shown.code == 0, shown.errors
    first = next(line for line in shown.output.splitlines() if line.strip().startswith("1 "))
    assert best["source"] in first
    assert f"{best['scores']['logme']:.3f} ({best['ranks']['logme']:g})" in first
    assert f"Kendall's W {told['concordance']:.2f}" in shown.output
    assert all(f"warning: {warning}" in shown.output for warning in told["warnings"])
    assert "120 samples of 4 classes, the largest 25.0%" in shown.output
    assert best["source"] in (place.local.parent / "ranking.html").read_text()


def test_what_is_wrong_is_said_in_a_line(here: Acclimate, tiny_bundle: Path, place: Place, tmp_path: Path) -> None:
    """Labels that are missing or of one class, a page that is there, code without a checkpoint, another size."""
    x, y = (np.load(place.local)[name] for name in "xy")
    np.savez(tmp_path / "plain.npz", x=x)
    np.savez(tmp_path / "one.npz", x=x[y == "moss"], y=y[y == "moss"])
    np.savez(tmp_path / "wide.npz", x=np.concatenate([x, x], axis=2), y=y)
    (tmp_path / "there.html").write_text("kept")
    cases = [
        (("--data", "plain.npz"), 1, "expected labelled samples in plain.npz, found none with a label"),
        (("--data", "one.npz"), 1, "expected samples of at least 2 classes, found 1 (moss)"),
        (("--data", "wide.npz"), 1, "tiny.acc: expected frames as (n, 8, 8, 1) uint8"),
        (("--data", "gone.npz"), 1, "found nothing at gone.npz"),
        (("--data", place.local, "--report", "there.html"), 1, "Choose another name, or give --overwrite"),
        (("--data", place.local, "--report", tiny_bundle, "--overwrite"), 1, "to be another file than the source"),
        (("--data", place.local, "--taps", "last"), 1, "expected --taps only with models, found bundles alone"),
        (("--data", place.local, "--resize", "8x8"), 1, "expected --resize only with models, found bundles alone"),
        (("--data", place.local, "--code", "model.py:build"), 1, "expected --code only with the folder of a run"),
        (("--data", place.local, "--resize", "big"), 2, "expected HEIGHTxWIDTH"),
        ((), 2, "Missing option '--data'"),
    ]
    for options, code, said in cases:
        found = here("rank", tiny_bundle, *options)
        assert (found.code, said in " ".join(found.errors.replace("│", " ").split())) == (code, True), found.errors
    assert (tmp_path / "there.html").read_text() == "kept"
    other = tiny_bundle.parent / ".." / tiny_bundle.parent.name / tiny_bundle.name
    for again in (tiny_bundle, other):
        twice = here("rank", tiny_bundle, again, "--data", place.local)
        assert twice.code == 1
        assert "expected each source once" in twice.errors
    assert "expected the name of a source, found none" in here("rank", "", "--data", place.local).errors
    (tmp_path / "bad.acc").write_text("none")
    assert here("rank", "bad.acc", "--data", place.local).errors.count("bad.acc") == 1


def test_samples_without_a_label_are_left_out_as_by_advise(here: Acclimate, tiny_bundle: Path, place: Place) -> None:
    """-1 and an empty text are no classes; how many there were is told; a page that is there is replaced if asked."""
    x, y = (np.load(place.local)[name] for name in "xy")
    hidden = np.arange(len(y)) % 5 == 0
    folder = place.local.parent
    np.savez(folder / "some.npz", x=x, y=np.where(hidden, "", y))
    np.savez(folder / "kept.npz", x=x[~hidden], y=y[~hidden])
    np.savez(folder / "numbers.npz", x=x, y=np.where(hidden, -1, np.unique(y, return_inverse=True)[1]))
    found, kept, numbers = (
        here("rank", tiny_bundle, "--data", f"{name}.npz", "--json") for name in ("some", "kept", "numbers")
    )
    assert found.json() == kept.json()
    assert f"{hidden.sum()} samples without a label were left out" in found.errors
    assert (numbers.json()["samples"], numbers.json()["classes"]) == (96, ["0", "1", "2", "3"])
    (folder / "ranking.html").write_text("before")
    page = here("rank", tiny_bundle, "--data", "kept.npz", "--report", "ranking.html", "--overwrite")
    assert page.code == 0, page.errors
    assert "tiny.acc" in (folder / "ranking.html").read_text()
    np.savez(folder / "none.npz", x=x, y=np.full(len(y), -1))
    assert "found none with a label" in here("rank", tiny_bundle, "--data", "none.npz").errors
