"""The page of a run: written when it ends, made again at any time, and never in the way of the run."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import torch

from acclimate.errors import InputError, OutputExistsError, TrainingError
from acclimate.server.data import Data
from acclimate.server.run_report import page
from acclimate.server.run_report.folder import read_run
from acclimate.server.run_report.page import REPORT_FILE, write_page
from acclimate.server.run_report.record import RECORD_FILE, begin_record, read_record
from acclimate.server.run_report.settings import shown
from acclimate.server.training.breakdown import VALIDATION_FILE, read_breakdowns

from .pages import read
from .small_runs import InMemory, make_config, make_data, make_net, run_small, weights

pytestmark = pytest.mark.needs_torch


class _CutOffError(Exception):
    pass


def cut_off(folder: Path, step: int = 8, **run: Any) -> None:
    """Leave a run after a step."""

    def stop(done: int, total: int) -> None:
        if done == step:
            raise _CutOffError

    with pytest.raises(_CutOffError):
        run_small(folder, make_config(run=run), progress=stop)


def test_a_run_leaves_its_page(tmp_path: Path) -> None:
    """Scores, classes, confusion, curves, settings with units, versions and data are in it as text."""
    config = make_config(epochs=2, run={"report": True})
    run = run_small(tmp_path / "first", config)
    texts = read((tmp_path / "first" / REPORT_FILE).read_text("utf-8")).texts
    one = run.metrics[0]
    for expected in (
        "Run first", f"{one.accuracy:.1%}", f"{one.macro_f1:.3f}", f"{one.calibration_error:.1%}", "Loss",
        "Calibration error", "Samples a second", "Waiting for samples", "Which class was taken for which",
        "Classes", "a", "b", "c", "training.batch_size", "samples", "16", "training.epochs", torch.__version__,
    ):  # fmt: skip
        assert any(expected in text for text in texts), expected
    assert any(text.startswith("clusters: 96 samples to train on, 45 samples to validate on.") for text in texts)
    assert any("not checked" in text for text in texts)
    (breakdown,) = read_breakdowns(tmp_path / "first" / "model")
    assert isinstance(make_data().train.dataset, InMemory)
    assert breakdown.labelled == (15, 15, 15)
    assert sum(breakdown.right) / 45 == one.accuracy
    for i, recall in enumerate(one.recall):
        assert f"{recall:.1%}" in texts
        assert str(breakdown.answered[i]) in texts


def test_the_breakdown_is_that_of_the_best_weights(tmp_path: Path) -> None:
    """Answers of the kept model give its counts, though worse epochs came after."""
    run = run_small(tmp_path / "run", make_config(epochs=6, learning_rate=0.3, seed=3))
    validation = make_data().validation
    assert validation is not None
    assert isinstance(validation.dataset, InMemory)
    with torch.no_grad():
        answers = run.model(validation.dataset.x).argmax(1)
    (breakdown,) = read_breakdowns(tmp_path / "run" / "model")
    assert breakdown.answered == tuple(torch.bincount(answers, minlength=3).tolist())
    assert json.loads((tmp_path / "run" / "model" / VALIDATION_FILE).read_text())["step"] == run.best_step


def test_a_resumed_run_tells_where_it_went_on(tmp_path: Path) -> None:
    """Both stretches are noted, the page is written at the end, and the weights are those of a run in one go."""
    cut_off(tmp_path / "run", report=True)
    assert not (tmp_path / "run" / REPORT_FILE).exists()
    resumed = run_small(tmp_path / "run", make_config(run={"report": True}), resume=True)
    whole = run_small(tmp_path / "whole", make_config(run={"report": True}))
    assert torch.equal(weights(resumed.model), weights(whole.model))
    record = read_record(tmp_path / "run")
    assert record is not None
    assert [one.step for one in record.attempts] == [0, 6]
    assert record.speed == resumed.speed
    assert "after step 6 at" in (tmp_path / "run" / REPORT_FILE).read_text("utf-8")
    for name in ("model/validation.json",):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_had_ended_gets_the_page_it_lacks(tmp_path: Path) -> None:
    """Killed between its last weights and its page, a run is resumed to the page; one that is there stays."""
    config = make_config(epochs=1, run={"report": True})
    run_small(tmp_path / "run", config)
    path = tmp_path / "run" / REPORT_FILE
    path.unlink()
    run_small(tmp_path / "run", config, resume=True)
    assert path.exists()
    path.write_text("mine")
    run_small(tmp_path / "run", config, resume=True)
    assert path.read_text() == "mine"


def test_a_page_that_cannot_be_drawn_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends as it would have, with its model, and says what failed and what to do."""

    def broken(run: object) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(page, "page_of", broken)
    with caplog.at_level(logging.WARNING):
        run = run_small(tmp_path / "run", make_config(epochs=1, run={"report": True}))
    assert (run.steps, (tmp_path / "run" / "model").is_dir()) == (6, True)
    assert "no luck" in caplog.text
    assert "acclimate report" in caplog.text


def test_a_record_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder stands where the record would: training goes on."""
    (tmp_path / RECORD_FILE).mkdir()
    with caplog.at_level(logging.WARNING):
        begin_record(tmp_path, make_data(), parameters=1, warnings=(), device="cpu", processes=1)
    assert "could not be noted" in caplog.text


def test_a_run_that_was_cut_off_has_a_page_too(tmp_path: Path) -> None:
    """With the scores of its best weights so far; without any before its first epoch."""
    cut_off(tmp_path / "run")
    write_page(tmp_path / "run")
    text = (tmp_path / "run" / REPORT_FILE).read_text("utf-8")
    assert "Cut off, or still running" in text
    assert "after step 6." in text
    cut_off(tmp_path / "early", 3)
    write_page(tmp_path / "early")
    assert "There are no validation scores" in (tmp_path / "early" / REPORT_FILE).read_text("utf-8")


@pytest.mark.parametrize("objective", ["multi-task", "simclr"])
def test_other_objectives_have_pages(tmp_path: Path, objective: str) -> None:
    """A part for each task; of an objective without labels the scores of its linear probe."""
    tasks = 2 if objective == "multi-task" else 1
    config = make_config(epochs=1, objective={"name": objective}, run={"report": True})
    run_small(tmp_path / "run", config, net=make_net(outputs=3 * tasks), data=make_data(tasks=tasks, vary=0.2))
    text = (tmp_path / "run" / REPORT_FILE).read_text("utf-8")
    expected = ("Task task 0", "Task task 1") if tasks == 2 else ("A linear probe on them gets",)
    assert all(one in text for one in expected)


def test_a_run_without_validation_has_a_page(tmp_path: Path) -> None:
    """The curves of training, and no scores."""
    run_small(tmp_path / "run", make_config(epochs=1, run={"report": True}), data=make_data(validation=0))
    text = (tmp_path / "run" / REPORT_FILE).read_text("utf-8")
    assert "none to validate on" in text


def test_warnings_of_the_check_are_told(tmp_path: Path) -> None:
    """What was found before training stands in the page; names of strangers stay text."""
    cut_off(tmp_path / "run")
    data: Data = replace(make_data(), source="<b>photos</b>")
    found = ["<script>alert(1)</script> has few samples"]
    begin_record(tmp_path / "run", data, parameters=7, warnings=found, device="cpu", processes=2)
    write_page(tmp_path / "run")
    page_read = read((tmp_path / "run" / REPORT_FILE).read_text("utf-8"))
    assert "script" not in page_read.tags
    assert found[0] in page_read.texts
    assert "cpu, 2 processes" in page_read.texts


def test_what_is_damaged_is_left_out_and_told(tmp_path: Path) -> None:
    """Notes, counts, record, settings and log, each spoilt in turn: there is a page that names the file."""
    run_small(tmp_path / "run", make_config(epochs=1))
    for name in (VALIDATION_FILE, "checkpoint.json"):
        path = tmp_path / "run" / "model" / name
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2])
        assert any(name in fault for fault in read_run(tmp_path / "run").faults)
        write_page(tmp_path / "run", overwrite=True)
        path.write_bytes(kept)
    (tmp_path / "run" / "model" / "checkpoint.json").unlink()
    for name in (RECORD_FILE, "config.toml"):
        (tmp_path / "run" / name).write_bytes(b"\xff{")
    (tmp_path / "run" / "log.jsonl").write_text(
        '{"kind": "step", "step": "x", "loss": NaN}\n[]\n{"kind": "epoch", "tasks": [1]}\n'
        '{"kind": "step", "step": 1e400}\n' + "[" * 100_000
    )
    faults = read_run(tmp_path / "run").faults
    assert all(any(name in fault for fault in faults) for name in ("checkpoint.json", RECORD_FILE, "config.toml"))
    write_page(tmp_path / "run", overwrite=True)


@pytest.mark.parametrize(
    "change",
    [
        {"source": 3},
        {"source": "x" * 3_000},
        {"parameters": -1},
        {"train": []},
        {"validation": {"count": 1, "names": "../", "labels": None, "content": None}},
        {"attempts": [{"step": 1}]},
        {"attempts": {}},
        {"warnings": ["x"] * 1_000},
        {"speed": {"samples_per_second": float("nan"), "input_wait": 0}},
        {"version": 2},
    ],
)
def test_a_record_of_a_stranger_is_checked(tmp_path: Path, change: dict[str, Any]) -> None:
    """Other types, lengths and numbers are refused as a whole."""
    begin_record(tmp_path, make_data(), parameters=7, warnings=(), device="cpu", processes=1)
    path = tmp_path / RECORD_FILE
    assert read_record(tmp_path) is not None
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TrainingError, match="Reports leave it out"):
        read_record(tmp_path)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    """Nothing there, a file, and a folder of something else; a page that is there stays."""
    (tmp_path / "file").write_text("")
    for name, message in (("none", "found nothing"), ("file", "found a file"), (".", "neither log.jsonl nor model/")):
        with pytest.raises(InputError, match=message):
            write_page(tmp_path / name)
    cut_off(tmp_path / "run")
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(OutputExistsError, match="is there already"):
        write_page(tmp_path / "run", tmp_path / "page.html")


def test_the_page_of_a_compression_is_not_replaced(tmp_path: Path) -> None:
    """Its folder has a model, and a page of another kind: it is refused, and the page stays."""
    cut_off(tmp_path / "run")
    (tmp_path / "small").mkdir()
    (tmp_path / "run" / "best-000000006").rename(tmp_path / "small" / "model")
    (tmp_path / "small" / "inputs.json").write_text("{}")
    (tmp_path / "small" / REPORT_FILE).write_text("candidates")
    with pytest.raises(InputError, match="found one of a compression"):
        write_page(tmp_path / "small", overwrite=True)
    assert (tmp_path / "small" / REPORT_FILE).read_text() == "candidates"


def test_settings_are_shown_short() -> None:
    """Lists, none, truth and long texts."""
    assert [shown(one) for one in (None, True, 0.003, [1, "a"], ())] == ["none", "true", "0.003", "[1, a]", "[]"]
    assert len(shown("x" * 500)) == 200


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": float("nan")},
        {"accuracy": 7},
        {"samples": -3},
        {"samples": 1.5},
        {"loss": float("inf")},
        {"macro_f1": True},
        {"recall": [1, 2, 3]},
        {"recall": None},
    ],
)
def test_scores_of_a_stranger_are_checked(tmp_path: Path, change: dict[str, Any]) -> None:
    """Noted beside weights, they are numbers within their bounds, or the page goes without them and says so."""
    cut_off(tmp_path / "run")
    path = tmp_path / "run" / "best-000000006" / "checkpoint.json"
    plain = json.loads(path.read_text())
    plain["notes"]["metrics"][0] |= change
    path.write_text(json.dumps(plain))
    found = read_run(tmp_path / "run")
    assert found.tasks == ()
    assert any("expected scores" in fault for fault in found.faults)


def test_names_of_a_stranger_stay_text(tmp_path: Path) -> None:
    """Tags, control characters, scripts without a font and halves of surrogate pairs: the page is whole."""
    cut_off(tmp_path / "run")
    path = tmp_path / "run" / "best-000000006" / "checkpoint.json"
    plain = json.loads(path.read_text())
    plain["notes"]["tasks"][0]["classes"] = ["<script>x</script>", "\x00\x1b[31m", "猫 \ud800"]
    path.write_text(json.dumps(plain))
    write_page(tmp_path / "run")
    found = read((tmp_path / "run" / REPORT_FILE).read_text("utf-8"))
    assert "script" not in found.tags
    assert "猫 ?" in found.texts
