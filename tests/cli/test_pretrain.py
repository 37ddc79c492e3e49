"""`acclimate pretrain`: what it takes, prints and refuses."""

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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a short run on samples in a file."""
    (tmp_path / "net.py").write_text(_NET)
    draws = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = (3 * np.eye(3, 4)[labels] + draws.normal(size=(90, 4))).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    path = tmp_path / "run.toml"
    path.write_text(
        f'[model]\nname = "{tmp_path / "net.py"}:make"\n[data]\ntrain = "{tmp_path / "data.npz"}"\n'
        "validation_share = 0.3\n[training]\nepochs = 9\nbatch_size = 9\nlearning_rate = 0.02\n"
    )
    return path


def test_a_run_prints_what_came_out(config: Path, tmp_path: Path) -> None:
    """As JSON, with the change of --set; the model and its settings lie in the folder; --resume gives it again."""
    arguments = ["pretrain", str(config), "--out", str(tmp_path / "run"), "--set", "training.epochs=8", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["steps"]) == (0, 56)
    assert found["metrics"][0]["accuracy"] > 0.8
    assert (tmp_path / "run" / "model" / "weights.safetensors").exists()
    assert "epochs = 8" in (tmp_path / "run" / "config.toml").read_text()
    again = CliRunner().invoke(app, [*arguments, "--resume"], catch_exceptions=False)
    assert json.loads(again.stdout)["metrics"] == found["metrics"]
    plain = CliRunner().invoke(app, [*arguments[:-1], "--resume"], catch_exceptions=False)
    assert "56 steps; the weights are those after step" in plain.stdout


def test_of_several_processes_one_speaks(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun, all but the first print nothing."""
    arguments = ["pretrain", str(config), "--out", str(tmp_path / "run"), "--set", "training.epochs=1"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    monkeypatch.setenv("RANK", "1")
    assert CliRunner().invoke(app, [*arguments, "--resume"], catch_exceptions=False).stdout == ""


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--set", "training.epoch=3"], InputError, "Did you mean 'epochs'"),
        (["--set", "training.epochs=many"], InputError, "training.epochs as a whole number"),
        (["--device", "tpu"], InputError, "device out of auto, cpu, cuda"),
    ],
)
def test_wrong_usage_is_told(
    config: Path, tmp_path: Path, more: list[str], error: type[Exception], message: str
) -> None:
    """Before anything is written."""
    arguments = ["pretrain", str(config), "--out", str(tmp_path / "run"), *more]
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_and_a_missing_file_are_told(config: Path, tmp_path: Path) -> None:
    """Nothing is overwritten, and a path that is wrong is named."""
    with pytest.raises(OutputExistsError, match="--resume"):
        CliRunner().invoke(app, ["pretrain", str(config), "--out", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(InputError, match=r"file of settings at none.toml"):
        CliRunner().invoke(app, ["pretrain", "none.toml", "--out", str(tmp_path / "run")], catch_exceptions=False)
