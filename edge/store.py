"""The local store: samples as 8-bit latents, classes and versions, in one SQLite file."""

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import (
    DuplicateSampleError,
    InputError,
    StoreCorruptError,
    StoreError,
    StoreMismatchError,
    StoreVersionError,
)
from ..latent import Codes
from .database import BUSY, as_store_error, connect, damage, is_read_only
from .schema import APPLICATION_ID, PAGE_SIZE, SCHEMA_VERSION, migrate

Ids = NDArray[np.int64]
_DUPLICATE = (
    "expected samples that are not stored yet, found {}. Nothing was stored. Leave it out, or pass on_duplicate='skip'."
)


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """Labelled samples of a store, in the order of their ids.

    Args:
        ids: ``(n,) int64``.
        classes: ``(n,) int64`` class ids.
        codes: ``(n, d) uint8`` latent codes.
    """

    ids: Ids
    classes: Ids
    codes: Codes


@dataclass(frozen=True)
class StoredVersion:
    """An accepted adaptation as it is stored.

    Args:
        id: Its number, from 1.
        time: When it was made, in seconds since 1970, by the device's clock.
        report: JSON text.
        head: The head's weights.
    """

    id: int
    time: float
    report: str
    head: bytes


class Store:
    """An opened store.

    Args:
        path: The file, made if it is not there; None keeps everything in memory.
        variant: Hash of the backbone that the latents come from.
        width: Number of dimensions of a latent.
        classes: Names of the shipped classes, which get the ids 0, 1, ...
        timeout: Seconds to wait while another process writes.

    Raises:
        StoreMismatchError: If it holds latents of another backbone.
        StoreVersionError: If a newer version of Acclimate wrote it.
        StoreCorruptError: If it is not a store, or damaged.
        StoreBusyError: If another process writes for longer than `timeout`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        variant: str,
        width: int,
        classes: Sequence[str],
        timeout: float = 5.0,
    ) -> None:
        self.name = "the store in memory" if path is None else Path(path).name
        self._width, self._timeout, self._lock = width, timeout, threading.RLock()
        self.read_only = path is not None and is_read_only(Path(path))
        with self._mapped():
            self._connection = connect(path, read_only=self.read_only, timeout=timeout)
        try:
            with self._mapped():
                self._prepare(variant, classes)
                self._salt = cast(bytes, self._setting("salt"))
        except BaseException:
            self._connection.close()
            raise

    def add(
        self,
        codes: Codes,
        classes: Sequence[int | None],
        digests: Sequence[bytes],
        keys: Sequence[str | None],
        tags: Sequence[str | None],
    ) -> Ids:
        """Store samples in one transaction: all of them or none.

        Args:
            codes: ``(n, d) uint8``.
            classes: A class id or None per sample.
            digests: `digest` of every raw input.
            keys: The application's own names for the samples.
            tags: Groups to forget by, for example a person.

        Returns:
            ``(n,) int64`` ids.

        Raises:
            DuplicateSampleError: If a digest is stored already, or twice in the call.
        """
        now, ids = time.time(), []
        statement = "INSERT INTO samples (class, key, tag, time, digest, codes) VALUES (?, ?, ?, ?, ?, ?)"
        with self.transaction():
            for i, row in enumerate(codes):
                try:
                    cursor = self._connection.execute(
                        statement, (classes[i], keys[i], tags[i], now, digests[i], row.tobytes())
                    )
                except sqlite3.IntegrityError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                        raise
                    # Another process stored it since `unstored` looked.
                    raise DuplicateSampleError(_DUPLICATE.format(f"sample {i} again")) from error
                ids.append(cursor.lastrowid)
        return np.array(ids, dtype=np.int64)

    def digest(self, frame: NDArray[np.generic]) -> bytes:
        """Return 16 bytes that tell equal inputs; keyed by the store, so that they identify nothing outside of it."""
        digest = hashlib.sha256(self._salt)
        digest.update(np.ascontiguousarray(frame).data)
        return digest.digest()[:16]

    def unstored(self, digests: Sequence[bytes], *, refuse: bool) -> tuple[list[int], dict[bytes, int]]:
        """Tell inputs that are not stored yet from those that are.

        Args:
            digests: `digest` of every raw input.
            refuse: Whether an input that is stored already, or occurs twice, is an error.

        Returns:
            The places of the new inputs, each once, and the sample ids of the others by digest.

        Raises:
            DuplicateSampleError: If `refuse` is true and there is one.
        """
        new: dict[bytes, int] = {}
        stored: dict[bytes, int] = {}
        with self._mapped():
            for i, digest in enumerate(digests):
                row = self._connection.execute("SELECT id FROM samples WHERE digest = ?", (digest,)).fetchone()
                if refuse and (row is not None or digest in new):
                    where = (
                        f"it equals sample {new[digest]} of the call" if row is None else f"it is stored as id {row[0]}"
                    )
                    raise DuplicateSampleError(_DUPLICATE.format(f"sample {i} again: {where}"))
                if row is not None:
                    stored[digest] = int(row[0])
                else:
                    new.setdefault(digest, i)
        return list(new.values()), stored

    def label(self, ids: Sequence[int], classes: Sequence[int | None]) -> None:
        """Set the class of stored samples in one transaction.

        Raises:
            InputError: If an id is not stored.
        """
        with self.transaction():
            for i, c in zip(ids, classes, strict=True):
                if self._connection.execute("UPDATE samples SET class = ? WHERE id = ?", (c, int(i))).rowcount != 1:
                    raise InputError(f"expected ids that observe() returned, found {i}. Look it up and try again.")

    def labelled(self) -> StoredSamples:
        """Return every labelled sample, in the order of the ids.

        Raises:
            StoreCorruptError: If a row does not hold a latent of this backbone.
        """
        with self._mapped(), self._reading():
            (n,) = self._connection.execute("SELECT count(*) FROM samples WHERE class IS NOT NULL").fetchone()
            ids, classes = np.empty(n, np.int64), np.empty(n, np.int64)
            codes = np.empty((n, self._width), np.uint8)
            rows = self._connection.execute("SELECT id, class, codes FROM samples WHERE class IS NOT NULL ORDER BY id")
            for i, (sample, label, content) in enumerate(rows):
                if not isinstance(content, bytes) or len(content) != self._width:
                    raise StoreCorruptError(
                        damage(self.name, f"sample {sample} does not have {self._width} bytes of latent")
                    )
                ids[i], classes[i] = sample, label
                codes[i] = np.frombuffer(content, np.uint8)
        return StoredSamples(ids, classes, codes)

    def count(self) -> tuple[int, int]:
        """Return how many samples are stored, and how many of them are labelled."""
        with self._mapped():
            all_, labelled = self._connection.execute("SELECT count(*), count(class) FROM samples").fetchone()
        return int(all_), int(labelled)

    def classes(self) -> dict[int, str]:
        """Return the name of every class by id."""
        with self._mapped():
            return dict(self._connection.execute("SELECT id, name FROM classes ORDER BY id").fetchall())

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes that are not there yet; they get the next ids in order."""
        with self.transaction():
            self._connection.executemany("INSERT OR IGNORE INTO classes (name) VALUES (?)", [(n,) for n in names])

    def add_version(self, report: str, head: bytes) -> int:
        """Store a version and make it the current one, in one transaction. Returns its number."""
        with self.transaction():
            cursor = self._connection.execute(
                "INSERT INTO versions (time, report, head) VALUES (?, ?, ?)", (time.time(), report, head)
            )
            number = int(cursor.lastrowid or 0)
            self._set("current", number)
        return number

    def versions(self) -> list[StoredVersion]:
        """Return every version, oldest first."""
        with self._mapped():
            rows = self._connection.execute("SELECT id, time, report, head FROM versions ORDER BY id").fetchall()
        return [StoredVersion(*row) for row in rows]

    def version(self, number: int) -> StoredVersion:
        """Return one version.

        Raises:
            StoreCorruptError: If it is not there.
        """
        with self._mapped():
            row = self._connection.execute(
                "SELECT id, time, report, head FROM versions WHERE id = ?", (number,)
            ).fetchone()
        if row is None:
            raise StoreCorruptError(damage(self.name, f"version {number} is missing"))
        return StoredVersion(*row)

    @property
    def current(self) -> int:
        """Number of the version in use; 0 is the shipped head."""
        with self._mapped():
            found = self._setting("current")
        if not isinstance(found, int):
            raise StoreCorruptError(damage(self.name, f"its setting 'current' is {found!r:.40}"))
        return found

    @current.setter
    def current(self, number: int) -> None:
        with self.transaction():
            self._set("current", number)

    @property
    def conformed(self) -> str:
        """Description of the runtime whose outputs were last checked against the bundle's, or an empty string."""
        with self._mapped():
            return str(self._setting("conformed"))

    @conformed.setter
    def conformed(self, description: str) -> None:
        if not self.read_only:
            with self.transaction():
                self._set("conformed", description)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run statements all or none, durable on return. Inside another transaction it joins that one."""
        with self._mapped():
            if self.read_only:
                raise StoreError(
                    f"{self.name} is read-only: expected a file and folder that this process may write to."
                )
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """See one state of the store throughout, whatever other processes write meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Serialise access between threads, and turn SQLite's errors into ours."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise as_store_error(error, self.name, self._timeout) from error

    def _prepare(self, variant: str, classes: Sequence[str]) -> None:
        with self._reading():
            application, version = self._pragma("application_id"), self._pragma("user_version")
            empty = self._pragma("schema_version") == 0
        if not empty and application != APPLICATION_ID:
            raise StoreCorruptError(damage(self.name, "it is another program's database"))
        if version > SCHEMA_VERSION:
            raise StoreVersionError(
                f"{self.name}: expected a store of schema version {SCHEMA_VERSION} or older, found {version}. "
                f"Update Acclimate on this device."
            )
        if not self.read_only:
            # Not before: they are written to the file, which is now known to be ours.
            self._connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            self._write_ahead()
            self._connection.execute("PRAGMA synchronous = FULL")
        if version < SCHEMA_VERSION:
            with self.transaction():
                # Another process may have done it between the look and the lock.
                migrate(self._connection, self._pragma("user_version"))
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                if empty and self._pragma_rows("SELECT count(*) FROM settings") == 0:
                    self._found(variant, classes)
        bound, width = self._setting("variant"), self._setting("width")
        if bound != variant or width != self._width:
            raise StoreMismatchError(
                f"{self.name}: expected latents of backbone {variant[:12]}..., found those of {str(bound)[:12]}... "
                f"Open it with the bundle and runtime it was made with, or start a new store for this bundle."
            )
        rows = self._connection.execute("SELECT name FROM classes WHERE id < ? ORDER BY id", (len(classes),))
        found = [name for (name,) in rows]
        if found != list(classes):
            raise StoreMismatchError(
                f"{self.name}: expected the classes {list(classes)[:20]} of this bundle, found {found[:20]}. "
                f"Open it with the bundle it was made with, or start a new store for this one."
            )

    def _write_ahead(self) -> None:
        """Switch to write-ahead logging; unlike other statements, this one does not wait for other processes itself."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in BUSY or time.monotonic() >= until:
                    raise
                time.sleep(0.01)

    def _found(self, variant: str, classes: Sequence[str]) -> None:
        salt = secrets.token_bytes(32)
        for name, value in (
            ("variant", variant),
            ("width", self._width),
            ("salt", salt),
            ("current", 0),
            ("conformed", ""),
        ):
            self._set(name, value)
        self._connection.executemany("INSERT INTO classes (id, name) VALUES (?, ?)", list(enumerate(classes)))

    def _pragma(self, name: str) -> int:
        return self._pragma_rows(f"PRAGMA {name}")

    def _pragma_rows(self, statement: str) -> int:
        return int(self._connection.execute(statement).fetchone()[0])

    def _setting(self, name: str) -> str | int | bytes:
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise StoreCorruptError(damage(self.name, f"its setting {name!r} is missing"))
        value: str | int | bytes = row[0]
        return value

    def _set(self, name: str, value: str | int | bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
