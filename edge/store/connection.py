"""One connection that threads share: errors mapped, transactions that nest, settings, checkpoints."""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import StoreCorruptError, StoreError
from .database import BUSY, FAILURES, as_store_error, connect, damage, is_read_only
from .leftover import MARK, next_mark

Value = str | int | float | bytes
# The log is copied into the file and cut when it has grown to about this many bytes, whatever the size of a page.
_LOG_BYTES = 2**20


class Connection:
    """An open database.

    Args:
        path: The file; None for memory.
        timeout: Seconds to wait for other processes.
    """

    def __init__(self, path: str | os.PathLike[str] | None, timeout: float) -> None:
        self.name = "the store in memory" if path is None else Path(path).name
        self.timeout, self.in_memory = timeout, path is None
        self.read_only = path is not None and is_read_only(Path(path))
        self._lock = threading.RLock()
        self._commits, self._others, self._looked = 0, 0, -math.inf
        # Whole, since the process may change its folder.
        self._path = None if path is None else os.path.abspath(path)
        self._file: tuple[int, int] | None = None
        with self.mapped():
            self._connection = connect(path, read_only=self.read_only, timeout=timeout)
        with suppress(OSError):
            self._file = self._identity()

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection, for use inside `mapped`."""
        return self._connection

    @property
    def in_transaction(self) -> bool:
        """Whether this connection is inside a transaction."""
        return self._connection.in_transaction

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._lock:
            self._connection.close()

    def run(self, statement: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with self.mapped():
            return self._connection.execute(statement, tuple(parameters))

    def rows(self, statement: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Return every row of a query."""
        with self.mapped():
            return self._connection.execute(statement, tuple(parameters)).fetchall()

    def number(self, statement: str, parameters: Iterable[Any] = ()) -> int:
        """Return the one whole number that a query gives; 0 for NULL."""
        return int(self.rows(statement, parameters)[0][0] or 0)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run statements all or none, durable on return. Inside another transaction it joins that one."""
        with self.mapped():
            if self.read_only:
                raise StoreError(
                    f"{self.name} is read-only: expected a file and folder that this process may write to."
                )
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_place()
                before = self._connection.total_changes
                yield
                if self._connection.total_changes != before:
                    self._mark()
                self._check_place()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._commits += 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the store throughout, whatever other processes write meanwhile."""
        with self.mapped():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def _mark(self) -> None:
        """Tell this transaction from all others, so that a log is known for this file's. See `leftover`."""
        if not self.in_memory:
            found = self._connection.execute("SELECT value FROM settings WHERE name = ?", (MARK,)).fetchone()
            self.set(MARK, next_mark(None if found is None else found[0]))

    def _identity(self) -> tuple[int, int] | None:
        """Return what tells the file from every other one under its name; None where nothing does."""
        if self._path is None:
            return None
        found = os.stat(self._path)
        # 0 is what a file system of Windows says that has no such numbers.
        return (found.st_dev, found.st_ino) if found.st_ino else None

    def _check_place(self) -> None:
        """Check that the file is still where it was opened: SQLite would write on to one that has no name any more.

        Raises:
            StoreError: If it is gone, or another one is in its place.
        """
        if self._file is None:
            return
        try:
            now = self._identity()
        except (FileNotFoundError, NotADirectoryError):
            now = None
        except OSError:
            # Whoever may not look cannot tell.
            return
        if now != self._file:
            found = "that it was deleted or renamed" if now is None else "another file in its place"
            raise StoreError(
                f"{self.name}: expected the file that was opened, found {found}; what is written now would be lost. "
                f"Put it back under its name. Or, to go on with what is there now: close every program that uses the "
                f"store, and delete {self.name}-wal and {self.name}-shm before it is opened again. Nothing was changed."
            )

    def lock(self) -> AbstractContextManager[bool]:
        """Return what serialises access between threads, for those who deal with SQLite's errors themselves."""
        return self._lock

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Serialise access between threads, and turn SQLite's errors into ours."""
        with self._lock:
            try:
                yield
            except FAILURES as error:
                raise as_store_error(error, self.name, self.timeout) from error

    def stamp(self, within: float = 0.0) -> tuple[int, int]:
        """Return a value that changes when any connection, of this process or another, commits something.

        Commits of this connection show up at once. While another thread is inside a call, commits of others since then
        show up only after it.

        Args:
            within: Whether others have committed something is asked again after so many seconds.
        """
        now = time.monotonic()
        # Asked at every prediction; of a store in memory there is nobody else.
        if now - self._looked >= within and not self.in_memory and self._lock.acquire(blocking=False):
            try:
                self._others = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
                self._looked = now
            except sqlite3.Error as error:
                raise as_store_error(error, self.name, self.timeout) from error
            finally:
                self._lock.release()
        return self._commits, self._others

    def setting(self, name: str) -> Value:
        """Return a setting.

        Raises:
            StoreCorruptError: If it is missing.
        """
        found = self.rows("SELECT value FROM settings WHERE name = ?", (name,))
        if not found:
            raise StoreCorruptError(damage(self.name, f"its setting {name!r} is missing"))
        value: Value = found[0][0]
        return value

    def count_setting(self, name: str) -> int:
        """Return a setting that is a whole number from 0.

        Raises:
            StoreCorruptError: If it is missing, or something else.
        """
        found = self.setting(name)
        if not isinstance(found, int) or found < 0:
            raise StoreCorruptError(damage(self.name, f"its setting {name!r} is {found!r:.40}"))
        return found

    def set(self, name: str, value: Value) -> None:
        """Write a setting."""
        self.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def write_ahead(self, page_size: int) -> None:
        """Switch to write-ahead logging; unlike other statements, this one does not wait for other processes itself."""
        self.run("PRAGMA auto_vacuum = NONE")
        self.run(f"PRAGMA page_size = {page_size}")
        until = time.monotonic() + self.timeout
        with self.mapped():
            while True:
                try:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF not in BUSY or time.monotonic() >= until:
                        raise
                    time.sleep(0.01)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {max(_LOG_BYTES // page_size, 1)}")
            self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")

    def checkpoint(self, timeout: float) -> bool:
        """Copy the whole log into the file and cut it to nothing.

        Args:
            timeout: Seconds to wait for those who read or write.

        Returns:
            Whether that was done; False if somebody was in the way all the time, or the disk is full.
        """
        if self.in_memory:
            return True
        with self.mapped():
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:
                return False
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")
        return int(busy) == 0
