"""What a run was made with, written beside its log when it begins and when it ends: data, warnings, versions, speed."""

import hashlib
import json
import logging
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ...errors import TrainingError
from ...files import write_file
from ..data.identity import identity_of
from ..data.split import Data, Split
from ..training.plan import Speed
from ..training.position import CHECKPOINTS
from ..training.state import newest

RECORD_FILE = "run.json"
FORMAT = "acclimate-run"
VERSION = 1
_MAX_BYTES = 2**22
_MOST_ATTEMPTS, _MOST_WARNINGS, _MOST_LETTERS = 50, 100, 2_000
_PACKAGES = ("acclimate", "torch", "accelerate", "numpy", "safetensors", "torchvision", "timm", "transformers", "keras")
_DIGEST = re.compile(r"[0-9a-f]{32}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One stretch of a run, from its beginning or from a checkpoint.

    Args:
        step: The step it began after.
        began: Time in UTC, ISO 8601.
        device: Kind of device that it ran on.
        processes: How many.
        versions: Of Python, the system and packages, by name.
    """

    step: int
    began: str
    device: str
    processes: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Samples:
    """What tells samples from others; None where it is only known while reading.

    Args:
        count: How many.
        names: Hash of their names.
        labels: Hash of the labels of each task.
        content: Hash of their content.
    """

    count: int | None = None
    names: str | None = None
    labels: tuple[str, ...] | None = None
    content: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """What a run was made with.

    Args:
        source: The data, in words.
        train: What it was trained on.
        validation: What it was validated on; None without.
        parameters: Number of the model's parameters.
        checked: Whether the data were looked at before training; those of a caller are not.
        warnings: What was found.
        attempts: The stretches of the run, the newest last; at most 50.
        speed: Of the last stretch; None until the run ends.
    """

    source: str
    train: Samples
    validation: Samples | None
    parameters: int
    checked: bool
    warnings: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    speed: Speed | None = None


def begin_record(
    folder: Path,
    data: Data,
    *,
    parameters: int,
    warnings: Sequence[str] | None,
    contents: Sequence[str] = (),
    device: str,
    processes: int,
    tools: Mapping[str, str] | None = None,
) -> None:
    """Write what a run is made with; a failure is a warning. Earlier attempts stay noted.

    Args:
        folder: Of the run.
        data: What it is trained and validated on.
        parameters: Number of the model's parameters.
        warnings: What a check of the data found; None where there was none.
        contents: Hashes of the content of the samples to train on, and to validate on; none where not known.
        device: Kind of device that it runs on.
        processes: How many.
        tools: Versions of what another process trains with, by name.
    """
    known = [*contents, None, None]
    last = newest(folder / CHECKPOINTS)
    step = 0 if last is None else int(last.name.rpartition("-")[2])
    versions = {**_versions(), **(tools or {})}
    attempt = Attempt(step, datetime.now(UTC).isoformat(timespec="seconds"), device, processes, versions)
    try:
        before = read_record(folder)
    except TrainingError:
        before = None
    attempts = (*(() if before is None or step == 0 else before.attempts), attempt)
    record = RunRecord(
        source=data.source[:_MOST_LETTERS],
        train=_samples(data.train, known[0]),
        validation=None if data.validation is None else _samples(data.validation, known[1]),
        parameters=parameters,
        checked=warnings is not None,
        warnings=tuple(text[:_MOST_LETTERS] for text in (warnings or ())[:_MOST_WARNINGS]),
        attempts=attempts[-_MOST_ATTEMPTS:],
    )
    _write(folder, record)


def end_record(folder: Path, speed: Speed) -> None:
    """Note how fast a run was; a failure is a warning."""
    try:
        record = read_record(folder)
    except TrainingError as error:
        _log.warning("%s", error)
    else:
        if record is not None:
            _write(folder, replace(record, speed=speed))


def read_record(folder: Path) -> RunRecord | None:
    """Read what a run was made with; None where nothing was noted, as by earlier versions.

    Raises:
        TrainingError: If it is damaged, or none of ours.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        if found["format"] != FORMAT or found["version"] != VERSION:
            raise ValueError(f"it is not of the format {FORMAT} {VERSION}")
        return RunRecord(
            source=_text(found["source"]),
            train=_read_samples(found["train"]),
            validation=None if found["validation"] is None else _read_samples(found["validation"]),
            parameters=_count(found["parameters"]),
            checked=found["checked"] is True,
            warnings=tuple(map(_text, _list(found["warnings"], _MOST_WARNINGS))),
            attempts=tuple(map(_read_attempt, _list(found["attempts"], _MOST_ATTEMPTS))),
            speed=None if found["speed"] is None else _read_speed(found["speed"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"expected what a run was made with in {path}, found that {error!r:.200}. Reports leave it out."
        ) from error


def _write(folder: Path, record: RunRecord) -> None:
    plain = {"format": FORMAT, "version": VERSION, **asdict(record)}
    try:
        write_file(folder / RECORD_FILE, json.dumps(plain, indent=1).encode() + b"\n", overwrite=True)
    except OSError as error:
        _log.warning("what the run is made with could not be noted: %s", error)


def _samples(split: Split, content: str | None) -> Samples:
    part = identity_of(Data(split, None, (), (), "", ()))
    labels = None
    if split.labels is not None:
        columns = split.labels.reshape(len(split.labels), -1).T
        labels = tuple(hashlib.blake2b(one.astype("<i8").tobytes(), digest_size=16).hexdigest() for one in columns)
    return Samples(part["train_samples"], part["train_names"], labels, content)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    # With what it was built for.
    return found | {"torch": torch.__version__}


def _read_attempt(found: Any) -> Attempt:
    versions = {_text(name): _text(value) for name, value in found["versions"].items()}
    if len(versions) > 4 * len(_PACKAGES):
        raise ValueError(f"{len(versions)} versions are noted")
    place = _count(found["step"]), _text(found["began"]), _text(found["device"]), _count(found["processes"])
    return Attempt(*place, versions)


def _read_samples(found: Any) -> Samples:
    labels = found["labels"]
    return Samples(
        None if found["count"] is None else _count(found["count"]),
        None if found["names"] is None else _digest(found["names"]),
        None if labels is None else tuple(map(_digest, _list(labels, 1_000))),
        None if found["content"] is None else _digest(found["content"]),
    )


def _read_speed(found: Any) -> Speed:
    values = found["samples_per_second"], found["input_wait"]
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in values):
        raise ValueError(f"the speed is {values!r:.60}")
    return Speed(*map(float, values))


def _text(found: Any) -> str:
    if not isinstance(found, str) or len(found) > _MOST_LETTERS:
        raise ValueError(f"{found!r:.60} is no text of at most {_MOST_LETTERS} letters")
    return found


def _digest(found: Any) -> str:
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        raise ValueError(f"{found!r:.60} is no hash")
    return found


def _count(found: Any) -> int:
    if type(found) is not int or not 0 <= found < 2**53:
        raise ValueError(f"{found!r:.60} is no count")
    return found


def _list(found: Any, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise ValueError(f"{found!r:.60} is no list of at most {most}")
    return found
