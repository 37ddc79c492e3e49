"""`acclimate compress`: what it takes, prints and refuses; the run itself is stood in for."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

from typer.testing import CliRunner, Result

from acclimate.cli.app import app
from acclimate.errors import InputError
from acclimate.server.compress import Budget, Compression, MeasuredModel, choose

pytestmark = pytest.mark.needs_torch
_TABLE = (
    MeasuredModel("original", False, 0.5, 0.25, 0.95, 0.0, 1200),
    MeasuredModel("pruned-0.3", True, 0.125, 0.0625, 0.94, 1.0, 500),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the command asks of a run that always finds the same two models."""
    calls: list[dict[str, Any]] = []

    def run(config: Path, **given: Any) -> Compression:
        calls.append({"config": config, **given})
        out = given["out"]
        limits = [text.removeprefix("compress.").split("=") for text in given["overrides"] if "max_" in text]
        choice = choose(_TABLE, budget := Budget(**{name: float(value) for name, value in limits}))
        chosen = choice.chosen is not None
        bundles = tuple(out / "candidates" / f"{one.name}.acc" for one in _TABLE)
        return Compression(
            out,
            _TABLE,
            choice,
            budget,
            bundles,
            (("low-rank", "would be no smaller"),),
            {"original": {}, "pruned-0.3": {"parameters": [1200, 500], "ratio": 0.3, "removed": 0.31}},
            {"calibration": 32, "evaluation": 64},
            out / "chosen.acc" if chosen else None,
            out / "model" if chosen else None,
            {"search": 1.5},
        )

    monkeypatch.setattr(import_module("acclimate.server.compress.run"), "compress_to_budget", run)
    return calls


def _invoke(folder: Path, *more: str) -> Result:
    (folder / "compress.toml").write_text("")
    arguments = ["compress", str(folder / "compress.toml"), "--out", str(folder / "run"), *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_options_become_settings_and_the_table_is_printed(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    """Budget and runtime go to their section; what is chosen, what is on the front, and what is missing are told."""
    done = _invoke(
        tmp_path, "--set", "training.epochs=3", "--runtime", "tflite", "--max-latency-ms", "0.2", "--resume",
        "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0
    (call,) = asked
    # What comes last holds.
    assert call["overrides"] == ["training.epochs=3", "compress.max_latency_ms=0.2", "compress.runtime=tflite"]
    assert (call["resume"], call["device"], call["out"]) == (True, "cpu", tmp_path / "run")


def test_what_is_chosen_is_printed(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    """A row for each model with its cost; the bundle, the checkpoint, and what is not in the table."""
    done = _invoke(tmp_path, "--max-latency-ms", "0.2")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["original", "32", "0.500", "0.250", "0.9500", "0.00", "1,200", "front"] in rows
    assert ["pruned-0.3", "8", "0.125", "0.062", "0.9400", "1.00", "500", "chosen,", "front"] in rows
    assert "Not in the table: low-rank. would be no smaller" in done.stdout
    assert f"Chosen: pruned-0.3 (int8), in {tmp_path / 'run' / 'chosen.acc'}." in done.stdout
    assert f"Its checkpoint is in {tmp_path / 'run' / 'model'}." in done.stdout
    found = json.loads(_invoke(tmp_path, "--max-latency-ms", "0.2", "--json").stdout)
    assert found["models"][1]["chosen"]
    assert found["models"][1]["bundle"] == "candidates/pruned-0.3.acc"
    assert (found["bundle"], found["model"], found["chosen"]) == ("chosen.acc", "model", 1)


def test_a_budget_that_nothing_keeps_ends_with_1(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    """The table is printed all the same; the limit, the least that was reached and the nearest model are named."""
    done = _invoke(tmp_path, "--max-size-mb", "0.01")
    assert done.exit_code == 1
    assert "pruned-0.3" in done.stdout
    assert "expected a size of at most 0.01 MB, found 0.0625 MB at best." in done.stderr
    assert "The nearest is pruned-0.3 (int8) with size 0.0625 MB." in done.stderr
    both = _invoke(tmp_path, "--max-size-mb", "0.1", "--max-drop", "0.5")
    assert "a size of at most 0.1 MB and a drop of at most 0.5 points at once, found each kept by some" in both.stderr
    again = _invoke(tmp_path, "--max-size-mb", "0.01", "--json")
    assert (again.exit_code, json.loads(again.stdout)["chosen"]) == (1, None)


def test_a_missing_file_is_told() -> None:
    """Before anything is imported."""
    with pytest.raises(InputError, match=r"file of settings at none\.toml"):
        CliRunner().invoke(app, ["compress", "none.toml", "--out", "run"], catch_exceptions=False)
