"""The folder of a run as reports read it: whole, cut off or damaged in part, and written by anybody."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError, TrainingError
from ..checkpoint import read_record as read_notes
from ..model_folder import MODEL_FOLDER
from ..training.breakdown import Breakdown, read_breakdowns
from ..training.kept import noted_metrics
from ..training.logs import LOG_FILE, read_log
from ..training.metrics import Metrics
from ..transfer.guard import Verdict
from ..transfer.guarded import read_verdict
from .record import RunRecord, read_record

_BEST = re.compile(r"best-\d{9}")
_MAX_CONFIG_BYTES = 2**20
# Beyond it a plot cannot be scaled.
_LARGEST = 1e100
_LONGEST = 500
# What acclimate compress leaves in its folder, besides a model.
_COMPRESSION = "inputs.json"


@dataclass(frozen=True)
class TaskScores:
    """How the best weights do on one task.

    Args:
        name: Of the task; empty for a single one.
        classes: Names of its classes.
        metrics: Its scores.
        breakdown: What they are made of; None where that was not noted.
    """

    name: str
    classes: tuple[str, ...]
    metrics: Metrics
    breakdown: Breakdown | None


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What a run left.

    Args:
        path: Its folder.
        name: What it is called.
        ended: Whether it came to its end.
        config: Settings by section and name, as plain values.
        log: Its records: steps and epochs.
        best_step: The step of the best weights; None where there are none yet.
        tasks: How they do; none without validation.
        record: What it was made with; None where that was not noted.
        faults: What could not be read, in sentences.
        architecture: Text that the network is known by; empty where that was not noted.
        verdict: Of the guard of a run that adapts; None without.
    """

    path: Path
    name: str
    ended: bool
    config: Mapping[str, Mapping[str, Any]]
    log: tuple[Mapping[str, Any], ...]
    best_step: int | None
    tasks: tuple[TaskScores, ...]
    record: RunRecord | None
    faults: tuple[str, ...]
    architecture: str = ""
    verdict: Verdict | None = None

    @property
    def steps(self) -> int:
        """Steps that the log tells of."""
        return max((int(number(record, "step") or 0) for record in self.log), default=0)

    def records(self, kind: str) -> tuple[Mapping[str, Any], ...]:
        """Return the log's records of a kind, ``"step"`` or ``"epoch"``."""
        return tuple(record for record in self.log if record.get("kind") == kind)


def number(record: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number of a record of a log; None where there is none."""
    value = record.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # NaN is not below it either.
    return float(value) if abs(value) < _LARGEST else None


def read_run(path: Path) -> RunFolder:
    """Read what a run left.

    Args:
        path: Its folder.

    Returns:
        What is there. What is damaged is left out, and told in `faults`.

    Raises:
        InputError: If it is no folder of a run.
    """
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing"
        raise InputError(f"expected the folder of a run at {path}, found {what}. Name what pretrain got as --out.")
    if not (path / LOG_FILE).is_file() and (path / _COMPRESSION).is_file():
        raise InputError(
            f"expected the folder of a run at {path}, found one of a compression, which has a page of its own. Name a "
            f"run of it: {path / 'runs' / 'NAME'}."
        )
    if not (path / LOG_FILE).is_file() and not (path / MODEL_FOLDER).is_dir():
        raise InputError(
            f"expected the folder of a run at {path}, found neither {LOG_FILE} nor {MODEL_FOLDER}/ in it. Name what "
            f"pretrain got as --out."
        )
    faults: list[str] = []
    weights, ended = _weights(path)
    notes: Mapping[str, Any] = {}
    architecture = ""
    step: int | None = None
    tasks: tuple[TaskScores, ...] = ()
    if weights is not None:
        try:
            checkpoint = read_notes(weights)
            notes, architecture = checkpoint.notes, _text(checkpoint.architecture)[:_LONGEST]
            step, tasks = _scores(weights, notes, faults)
        except TrainingError as error:
            faults.append(str(error))
    record = None
    try:
        record = read_record(path)
    except TrainingError as error:
        faults.append(str(error))
    verdict = None
    try:
        verdict = read_verdict(path)
    except TrainingError as error:
        faults.append(str(error))
    log = tuple(read_log(path))
    config = _sections(notes.get("config")) or _config(path, faults)
    name = path.resolve().name
    return RunFolder(path, name, ended, config, log, step, tasks, record, tuple(faults), architecture, verdict)


def _weights(path: Path) -> tuple[Path | None, bool]:
    """Return the folder of the best weights, and whether the run had ended."""
    if (path / MODEL_FOLDER).is_dir():
        return path / MODEL_FOLDER, True
    found = sorted(one for one in path.glob("best-*") if _BEST.fullmatch(one.name) and one.is_dir())
    return (found[-1] if found else None), False


def _scores(weights: Path, notes: Mapping[str, Any], faults: list[str]) -> tuple[int | None, tuple[TaskScores, ...]]:
    step, metrics = notes.get("step"), notes.get("metrics")
    if type(step) is not int or not 0 <= step < _LARGEST or not isinstance(metrics, list):
        raise TrainingError(f"expected step and metrics noted in {weights}, found {sorted(notes)}.")
    scores = [noted_metrics(one, weights) for one in metrics]
    try:
        breakdowns = read_breakdowns(weights)
    except TrainingError as error:
        faults.append(str(error))
        breakdowns = ()
    named = _named(notes, len(scores))
    tasks = []
    for place, (one, (name, classes)) in enumerate(zip(scores, named, strict=True)):
        breakdown = breakdowns[place] if len(breakdowns) == len(scores) else None
        width = len(one.recall)
        names = classes if len(classes) == width else tuple(str(i) for i in range(width))
        fits = breakdown is not None and len(breakdown.labelled) == width
        tasks.append(TaskScores(name, names, one, breakdown if fits else None))
    return step, tuple(tasks)


def _named(notes: Mapping[str, Any], count: int) -> list[tuple[str, tuple[str, ...]]]:
    """Return names and classes of the tasks; numbers where the notes hold none."""
    found = notes.get("tasks")
    if isinstance(found, list) and len(found) == count and all(isinstance(one, dict) for one in found):
        return [(_text(one.get("name", i + 1)), _texts(one.get("classes"))) for i, one in enumerate(found)]
    return [(f"task {i + 1}", _texts(notes.get("classes")) if count == 1 else ()) for i in range(count)]


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(map(_text, found)) if isinstance(found, list) else ()


def _text(found: Any) -> str:
    """Return a name with what no page can hold replaced: halves of surrogate pairs."""
    return str(found).encode(errors="replace").decode()


def _sections(found: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(found, dict):
        return {}
    return {str(name): dict(part) for name, part in found.items() if isinstance(part, dict)}


def _config(path: Path, faults: list[str]) -> dict[str, dict[str, Any]]:
    file = path / "config.toml"
    try:
        with file.open("rb") as opened:
            return _sections(tomllib.loads(opened.read(_MAX_CONFIG_BYTES).decode()))
    except (OSError, ValueError, RecursionError) as error:
        faults.append(f"expected settings in {file}, found that {error}.")
        return {}
