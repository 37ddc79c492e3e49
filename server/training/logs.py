"""The log of a run: JSON lines, and TensorBoard's event files beside them."""

import json
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ...extras import require
from ...files import write_file
from ..full_disk import told_if_full

LOG_FILE = "log.jsonl"


class Log:
    """Appends records to a run's log; a context manager.

    Args:
        folder: Of the run.
        step: The step that the run begins at: records of later ones, of an attempt that was cut off, are removed.
        tensorboard: Whether event files are written, too, in the folder ``tensorboard``.

    Raises:
        TrainingError: If the disk is full.
    """

    def __init__(self, folder: Path, *, step: int, tensorboard: bool) -> None:
        path = folder / LOG_FILE
        kept = [line for line in _lines(path) if line.get("step", 0) <= step]
        with told_if_full("the log", path):
            write_file(path, b"".join(map(_line, kept)), overwrite=True)
            self._path, self._events = path, _Events(folder / "tensorboard", step) if tensorboard else None
            self._file = path.open("ab")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; numbers in it go to TensorBoard, too.

        Raises:
            TrainingError: If the disk is full.
        """
        with told_if_full("the log", self._path):
            self._file.write(_line(record))
            # Whoever is killed next has it.
            self._file.flush()
            if self._events is not None:
                self._events.write(record)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._events):
            # What could not be written was told by whoever wrote it.
            with suppress(OSError):
                if file is not None:
                    file.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run, in their order; a last one that was cut off is left out."""
    return _lines(folder / LOG_FILE)


def _lines(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    if not path.exists():
        return records
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            # A process that is killed may leave half a line.
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


class _Events:
    """One file of TensorBoard's events, written without its writer, which would load TensorFlow where it is there."""

    def __init__(self, folder: Path, step: int) -> None:
        require("tensorboard", extra="server", needed_by="run.tensorboard = true")
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        self._event, self._sum = Event, masked_crc32c
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        self._file: BinaryIO = (folder / f"events.out.tfevents.{int(time.time())}.{number:04d}").open("xb")
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # What an attempt that was cut off has written of this step and later ones does not count.
        start = SessionLog(status=SessionLog.START)
        self._append(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def write(self, record: Mapping[str, Any]) -> None:
        event = self._event(wall_time=time.time(), step=int(record.get("step", 0)))
        for name, value in record.items():
            if name not in ("step", "kind", "seconds") and isinstance(value, int | float):
                event.summary.value.add(tag=f"{record['kind']}/{name}", simple_value=value)
        self._append(event)
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _append(self, event: Any) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        parts = (length, struct.pack("<I", self._sum(length)), content, struct.pack("<I", self._sum(content)))
        self._file.write(b"".join(parts))
