"""A checkpoint is a file from elsewhere: whatever its record holds, it is refused in words, or loads as it was."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("accelerate", reason="acclimate[server] is not installed")

import safetensors.torch
import torch

from acclimate.errors import InputError, TrainingError
from acclimate.server.checkpoint import save_checkpoint
from acclimate.server.config.model import ModelSettings
from acclimate.server.data.load import data_notes
from acclimate.server.models import architecture_of, build_model
from acclimate.server.run_report.folder import read_run
from acclimate.server.trained import load_trained

from .small_runs import make_data

pytestmark = pytest.mark.needs_torch
_CODE = f"{Path(__file__).parent / 'small_nets.py'}:make"
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint as a run leaves it."""
    settings = ModelSettings(name=_CODE)
    model = build_model(settings, 3, (6,))
    notes = {**data_notes(make_data()), "step": 3, "metrics": [], "config": {}}
    folder = tmp_path / "run" / "model"
    save_checkpoint(folder, model, architecture=architecture_of(settings, 3, (6,)), notes=notes)
    return folder


def _notes(**changed: Any) -> Edit:
    return lambda record: record["notes"].update(changed)


def _network(**changed: Any) -> Edit:
    def edit(record: dict[str, Any]) -> None:
        record["architecture"] = json.dumps({**json.loads(record["architecture"]), **changed})

    return edit


def _heads(*heads: Any) -> Edit:
    return _network(heads=list(heads))


TEXTS: dict[str, Callable[[str], bytes]] = {
    "truncated": lambda text: text[:200].encode(),
    "empty": lambda text: b"",
    "a list": lambda text: b"[]",
    "null": lambda text: b"null",
    "nested": lambda text: b"[" * 100_000,
    "binary": lambda text: b"\xff\xfe\x00",
    "digits": lambda text: text.replace('"step": 3', '"step": ' + "9" * 6_000).encode(),
    "endless": lambda text: (text[:-2] + " " * 2**21 + "}").encode(),
}
REFUSED: dict[str, tuple[Edit, str]] = {
    "notes a text": (lambda record: record.update(notes="x"), "expected architecture, sha256 and notes"),
    "no notes": (lambda record: record.pop("notes"), "expected architecture, sha256 and notes"),
    "architecture a number": (lambda record: record.update(architecture=5), "architecture, sha256 and notes"),
    "architecture half": (lambda record: record.update(architecture="{"), "tells of it as '{'"),
    "architecture nested": (lambda record: record.update(architecture="[" * 100_000), r"tells of it as '\[\["),
    "hash a number": (lambda record: record.update(sha256=5), "architecture, sha256 and notes"),
    "version newer": (lambda record: record.update(version=99), "version 1 .*found 99"),
    "version a text": (lambda record: record.update(version="1"), "version 1 .*found '1'"),
    "shape a text": (_notes(shape="a"), "shape of a sample noted"),
    "shape negative": (_notes(shape=[-6]), "shape of a sample noted"),
    "classes a number": (_notes(classes=5), "classes noted"),
    "classes nested": (_notes(classes=[[1], 2, 3]), "classes noted"),
    "mean a text": (_notes(mean=["a"]), "expected mean noted"),
    "mean too large": (_notes(mean=[10**400]), "expected mean noted"),
    "deviation NaN": (_notes(std=[float("nan")]), "expected std noted"),
    "tasks a text": (_notes(tasks="x"), "expected tasks noted"),
    "kind": (_network(kind="zzz"), "tells of it as"),
    "name a number": (_network(name=5), "tells of it as"),
    "name of a function": (_network(name="os:getcwd"), "function that built the network in .*'os:getcwd'"),
    "name of a file": (_network(name="/dev/zero:make"), "function that built the network in"),
    "name that is no path": (_network(name="\0.py:make"), "function that built the network in"),
    "name without end": (_network(name="x" * 100_000 + ".py:make"), "function that built the network in"),
    "heads a text": (_network(heads="abc"), "tells of it as"),
    "no heads": (_heads(), "tells of it as"),
    "outputs of terabytes": (_heads([10**12, [6], "auto"]), "tells of it as"),
    "outputs of gigabytes": (_heads([3 * 10**9, [6], "auto"]), "tells of it as"),
    "outputs below none": (_heads([-3, [6], "auto"]), "tells of it as"),
    "samples of terabytes": (_heads([3, [10**6, 10**6], "auto"]), "tells of it as"),
    "samples of gigabytes": (_heads([3, [3, 2**15, 2**15], "auto"]), "tells of it as"),
    "other outputs": (_heads([2, [6], "auto"]), "float32 .* found float32"),
    "no outputs": (_heads([True, [6], "auto"]), "float32 .* found float32"),
    "other samples": (_heads([3, [7], "auto"]), "to take samples of shape"),
    "layer that is none": (_heads([3, [6], "nope"]), "expected a layer 'nope'"),
    "narrowed nowhere": (_heads({"widths": {"9": [1, 1]}}), "expected|tells"),
    "narrowed a text": (_heads([3, [6], "auto"], {"x": "y"}), "expected|tells"),
}
HARMLESS: dict[str, Edit] = {
    "as it is": lambda record: None,
    "step large": _notes(step=10**30),
    "step negative": _notes(step=-1),
    "metrics a text": _notes(metrics="x"),
    "config a list": _notes(config=[1]),
    "source a list": _notes(source=[1]),
    "many heads": _heads(*[[3, [6], "auto"]] * 200),
    "more": lambda record: record.update(more={"a": 1}),
}


@pytest.mark.parametrize("case", TEXTS)
def test_records_that_are_no_json_are_refused(checkpoint: Path, case: str) -> None:
    """By its name, before any weight is read; the report of its run says so too, and does not fail."""
    path = checkpoint / "checkpoint.json"
    path.write_bytes(TEXTS[case](path.read_text()))
    with pytest.raises(TrainingError, match=r"expected checkpoint\.json"):
        load_trained(checkpoint, code=_CODE)


@pytest.mark.parametrize("case", REFUSED)
def test_records_that_do_not_fit_are_refused(checkpoint: Path, case: str) -> None:
    """What is wrong is told in words of ours, and nothing large is made before."""
    edit, message = REFUSED[case]
    _edit(checkpoint, edit)
    with pytest.raises((InputError, TrainingError), match=message):
        load_trained(checkpoint, code=_CODE)


@pytest.mark.parametrize("case", HARMLESS)
def test_what_no_one_reads_does_no_harm(checkpoint: Path, case: str) -> None:
    """The model is as it was, and the folder can be reported on."""
    before = load_trained(checkpoint, code=_CODE).model.state_dict()
    _edit(checkpoint, HARMLESS[case])
    after = load_trained(checkpoint, code=_CODE).model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_files_that_are_other_things_are_refused(checkpoint: Path) -> None:
    """A folder, a link to what is no weights, to what has no end: told, and not read through."""
    weights, record = checkpoint / "weights.safetensors", checkpoint / "checkpoint.json"
    content = weights.read_bytes()
    weights.unlink()
    (checkpoint / "other").write_text("text")
    weights.symlink_to(checkpoint / "other")
    with pytest.raises(TrainingError, match="SHA-256"):
        load_trained(checkpoint, code=_CODE)
    weights.unlink()
    weights.write_bytes(content)
    record.unlink()
    if os.path.exists("/dev/zero"):
        record.symlink_to("/dev/zero")
        with pytest.raises((InputError, TrainingError), match="expected"):
            load_trained(checkpoint, code=_CODE)
        record.unlink()
    record.mkdir()
    with pytest.raises(InputError, match="expected a checkpoint"):
        load_trained(checkpoint, code=_CODE)


@pytest.mark.parametrize("case", [*TEXTS, *REFUSED, *HARMLESS])
def test_a_report_of_such_a_run_is_made(checkpoint: Path, case: str) -> None:
    """What cannot be read is left out of it, or told as a fault: a page never fails on one file."""
    path = checkpoint / "checkpoint.json"
    (checkpoint.parent / "config.toml").write_text("")
    (checkpoint.parent / "log.jsonl").write_text("")
    if case in TEXTS:
        path.write_bytes(TEXTS[case](path.read_text()))
    else:
        _edit(checkpoint, REFUSED[case][0] if case in REFUSED else HARMLESS[case])
    read_run(checkpoint.parent)


def _edit(folder: Path, edit: Edit) -> None:
    path = folder / "checkpoint.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_weights_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    """A run that began with them would put the blame on its samples."""
    path = checkpoint / "weights.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = next(iter(tensors))
    tensors[name][0] = float("nan")
    path.write_bytes(safetensors.torch.save(tensors))
    record = json.loads((checkpoint / "checkpoint.json").read_text())
    record["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (checkpoint / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=f"expected finite weights in .*'{name}'"):
        load_trained(checkpoint, code=_CODE)


def test_a_step_beyond_all_bounds_is_told(checkpoint: Path) -> None:
    """No plot has a place for it: the page goes without scores, and says so."""
    path = checkpoint / "checkpoint.json"
    record = json.loads(path.read_text())
    record["notes"]["step"] = 10**400
    path.write_text(json.dumps(record))
    found = read_run(checkpoint.parent)
    assert found.best_step is None
    assert any("expected step and metrics" in fault for fault in found.faults)
