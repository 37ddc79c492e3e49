"""SQLite as the store uses it: how a file is opened, and what its errors mean to a user."""

import os
import sqlite3
from pathlib import Path

from ...errors import StoreBusyError, StoreCorruptError, StoreError
from ...record import record
from .leftover import check_log

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# What Python raises for SQLite; the second where SQLite's message quotes a damaged text.
FAILURES = (sqlite3.Error, UnicodeDecodeError)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@record()
class Binding:
    """What a store is bound to.

    Args:
        variant: Hash of the backbone, or None where there is no readable store.
        conformed: The runtime and machine that were last found to compute what the bundle promises, or an empty string.
    """

    variant: str | None
    conformed: str


def stored_binding(path: str | os.PathLike[str] | None, timeout: float = 5.0) -> Binding:
    """Look what a store is bound to, without making or opening it for good; wait `timeout` seconds for others."""
    if path is None or not Path(path).is_file():
        return Binding(None, "")
    try:
        connection = connect(path, read_only=is_read_only(Path(path)), timeout=timeout)
        try:
            found = dict(connection.execute("SELECT name, value FROM settings").fetchall())
        finally:
            connection.close()
    except FAILURES:
        # What is wrong with it, opening it will say.
        return Binding(None, "")
    variant = found.get("variant")
    return Binding(None if variant is None else str(variant), str(found.get("conformed", "")))


def is_read_only(path: Path) -> bool:
    """Return whether a file is there that this process may not write to."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _mode(path: Path) -> str:
    """Return how to open a file that may not be written to."""
    log = path.with_name(f"{path.name}-wal")
    # SQLite cannot read a WAL database on read-only media unless it is told that nobody writes to it; but then it does
    # not look at the log either, in which a process that was cut off, or one that writes now, left what is newest.
    return "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"


def connect(path: str | os.PathLike[str] | None, *, read_only: bool, timeout: float) -> sqlite3.Connection:
    """Open a connection in autocommit mode that several threads may share, one at a time.

    Raises:
        StoreMismatchError: If the log beside the file is another file's.
    """
    name, uri = ":memory:", False
    if path is not None:
        # Before SQLite sees either: with the first look it would copy the one into the other.
        if Path(path).is_file():
            check_log(Path(path))
        name, uri = os.fspath(path), read_only
        if read_only:
            name = f"{Path(path).absolute().as_uri()}?{_mode(Path(path))}"
    connection = sqlite3.connect(name, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri)
    try:
        for pragma in ("trusted_schema = OFF", "secure_delete = ON", "foreign_keys = ON", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def as_store_error(error: Exception, name: str, timeout: float) -> StoreError:
    """Return the error of ours that stands for one of SQLite's.

    Args:
        error: One of `FAILURES`.
        name: Name of the store, for the message.
        timeout: Seconds that were waited for other processes.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in BUSY:
        return StoreBusyError(
            f"{name}: expected to write, found another process writing for over {timeout:g} s. "
            f"Close it or try again; nothing was changed."
        )
    if code in _DAMAGED:
        return StoreCorruptError(damage(name, str(error)))
    if isinstance(error, UnicodeDecodeError) or str(error).startswith("Could not decode"):
        # Python's word, not SQLite's: it has no code. The text itself stays out of the message.
        return StoreCorruptError(damage(name, "a text in it is not UTF-8"))
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            f"{name}: expected a file that can be opened or made, found that SQLite is {error}. "
            f"Make its folder, or name another file."
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"{name}: the disk is full. Free some space; nothing was changed.")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StoreError(f"{name}: expected an open store, found that it was closed. Open it again.")
    return StoreError(f"{name}: SQLite says: {error}. Nothing was changed.")


def damage(name: str, what: str, first: str = "") -> str:
    """Return the message for a file that is no store, or no longer one.

    Args:
        name: Name of the store.
        what: What was found.
        first: What may help before everything has to be restored.
    """
    return (
        f"{name}: expected a store of Acclimate, found that {what}. {first}"
        f"Restore it from a copy (close what uses it and delete {name}-wal and {name}-shm before), or name another "
        f"file to start a new store."
    )
