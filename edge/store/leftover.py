"""A log that belongs to another file: it stays behind where a store is replaced by a copy while a program still has it.

SQLite takes any log with the right name for the file's own, and copies its pages over a file that was just restored.
Each transaction therefore writes a random mark into the settings, beside the one of the transaction before it. The log
of a file holds the file's own mark: as one of its transactions, or as what came before its first.
"""

import os
import re
import sqlite3
import struct
import time
from contextlib import closing
from pathlib import Path

from ...errors import StoreMismatchError

MARK, MARK_BYTES = "wal_mark", 16
# Before the first transaction of a store there is none.
NO_MARK = bytes(MARK_BYTES)
# SQLite writes a row's values side by side.
_ROW = re.compile(rb"wal_mark([\s\S]{32})")
_LOG_HEADER, _FRAME_HEADER = 32, 24
# While another process writes, file and log may be read at two moments.
_ATTEMPTS, _PAUSE = 5, 0.02


def next_mark(found: object) -> bytes:
    """Return the marks to store with a transaction, as bytes: the one of the transaction before it, and its own."""
    before = found[MARK_BYTES:] if isinstance(found, bytes) and len(found) == 2 * MARK_BYTES else NO_MARK
    return before + os.urandom(MARK_BYTES)


def check_log(path: Path) -> None:
    """Check that the log beside a store, if there is one, is its own, without changing either.

    Raises:
        StoreMismatchError: If it is another file's.
    """
    log = path.with_name(f"{path.name}-wal")
    for _ in range(_ATTEMPTS):
        header = _read(log, _LOG_HEADER)
        if len(header) < _LOG_HEADER:
            return
        # Before the log: what is copied from there meanwhile is in there.
        before = _mark_of(path)
        if before is None:
            return
        known = marks_in(_read(log))
        if not known or before in known:
            return
        if (before, header) == (_mark_of(path), _read(log, _LOG_HEADER)):
            raise StoreMismatchError(
                f"{path.name}: expected the log of this file beside it, found that {log.name} is another file's: this "
                f"one was put in its place while a program used the store, or ended without closing it. Nothing was "
                f"changed. Close every program that uses it, delete {log.name} and {path.name}-shm, and open it again; "
                f"or put the file that was here before back."
            )
        time.sleep(_PAUSE)


def marks_in(log: bytes) -> set[bytes]:
    """Return every mark that a log holds, and those before them; none for one of an earlier release."""
    if len(log) < _LOG_HEADER:
        return set()
    size, salts = struct.unpack_from(">I", log, 8)[0], log[16:24]
    found: set[bytes] = set()
    for at in range(_LOG_HEADER, len(log), _FRAME_HEADER + max(size, 512)):
        # Frames with other salts are left over from before the log was begun anew.
        if log[at + 8 : at + 16] == salts:
            for pair in _ROW.findall(log, at + _FRAME_HEADER, at + _FRAME_HEADER + size):
                found |= {pair[:MARK_BYTES], pair[MARK_BYTES:]}
    return found


def _mark_of(path: Path) -> bytes | None:
    """Return the mark in the file alone, without its log; None if it cannot be read, as after a cut in writing it."""
    try:
        if not path.stat().st_size:
            return NO_MARK
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as file:
            if not file.execute("SELECT 1 FROM sqlite_schema WHERE name = 'settings'").fetchall():
                return NO_MARK
            rows = file.execute("SELECT value FROM settings WHERE name = ?", (MARK,)).fetchall()
    except (OSError, sqlite3.Error, UnicodeDecodeError):
        return None
    value = rows[0][0] if rows else b""
    return value[MARK_BYTES:] if isinstance(value, bytes) and len(value) == 2 * MARK_BYTES else NO_MARK


def _read(path: Path, count: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
