"""`acclimate report` and `acclimate compare`: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import numpy as np
from typer.testing import CliRunner

from acclimate.cli.app import app
from acclimate.errors import InputError, OutputExistsError

pytestmark = pytest.mark.needs_torch

_NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs that differ in one setting."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "net.py").write_text(_NET)
    labels = np.arange(90) % 3
    x = (3 * np.eye(3, 4)[labels] + np.random.default_rng(0).normal(size=(90, 4))).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=labels)
    (folder / "run.toml").write_text(
        f'[model]\nname = "{folder / "net.py"}:make"\n[data]\ntrain = "{folder / "data.npz"}"\n'
        "validation_share = 0.3\n[training]\nepochs = 2\nbatch_size = 9\n[run]\ntensorboard = false\n"
    )
    for name, rate in (("a", "0.02"), ("b", "0.001")):
        arguments = ["pretrain", str(folder / "run.toml"), "--out", str(folder / name), "--device", "cpu"]
        CliRunner().invoke(app, [*arguments, "--set", f"training.learning_rate={rate}"], catch_exceptions=False)
    return folder


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_page_is_made_again(runs: Path, tmp_path: Path) -> None:
    """In the folder, in place of the one there; under a name that is taken it is refused."""
    page = runs / "a" / "report.html"
    made = page.read_text("utf-8")
    assert "The check before training found" in made or "What the check before training found" in made
    page.write_text("old")
    assert str(page) in run("report", runs / "a")
    assert page.read_text("utf-8") == made
    run("report", runs / "a", "--out", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == made
    with pytest.raises(OutputExistsError, match="is there already"):
        run("report", runs / "a", "--out", tmp_path / "page.html")
    run("report", runs / "a", "--out", tmp_path / "page.html", "--overwrite")


def test_a_comparison_is_printed_and_written(runs: Path, tmp_path: Path) -> None:
    """Tables for people, one JSON document for programs, and a page."""
    told = run("compare", runs / "a", runs / "b", "--out", tmp_path / "page.html")
    assert "validated on the same samples" in told
    assert "training.learning_rate" in told
    assert "<h1>Comparison of a and b</h1>" in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(OutputExistsError, match="is there already"):
        run("compare", runs / "a", runs / "b", "--out", tmp_path / "page.html")
    run("compare", runs / "a", runs / "b", "--out", tmp_path / "page.html", "--overwrite")
    found = json.loads(run("compare", runs / "a", runs / "b", "--json"))
    assert found["settings"] == {"training.learning_rate": [0.02, 0.001]}
    assert [one["steps"] for one in found["runs"]] == [14, 14]
    assert found["tasks"][0]["same_samples"] is True


def test_folders_that_are_no_runs_are_told(runs: Path, tmp_path: Path) -> None:
    """By both commands, with what to name instead; nothing is written."""
    for arguments in (["report", tmp_path], ["compare", runs / "a", tmp_path, "--out", tmp_path / "page.html"]):
        with pytest.raises(InputError, match=r"folder of a run at .*--out"):
            run(*arguments)
    assert list(tmp_path.iterdir()) == []
