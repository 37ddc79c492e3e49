"""Samples in the store: put in, looked up, labelled, read back."""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DuplicateSampleError, InputError, StoreCorruptError
from ...latent import Codes
from . import slots
from .connection import Connection
from .database import damage

Ids = NDArray[np.int64]
Float64 = NDArray[np.float64]
_DUPLICATE = (
    "expected samples that are not stored yet, found {}. Nothing was stored. Leave it out, or pass on_duplicate='skip'."
)
_READ = (
    "SELECT s.id, s.class, s.tag, s.time, s.digest, l.codes "
    "FROM samples AS s LEFT JOIN latents AS l ON l.slot = s.slot WHERE "
)
_INSERT = "INSERT INTO samples (id, slot, class, key, tag, time, digest) VALUES (?, ?, ?, ?, ?, ?, ?)"
UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """Samples of a store, in the order of their ids unless asked for in another.

    Args:
        ids: ``(n,) int64``.
        classes: ``(n,) int64`` class ids; -1 for a sample without a label.
        codes: ``(n, d) uint8`` latent codes.
        tags: ``n`` groups, None for a sample without one; empty where they are not known.
        times: ``(n,) float64`` seconds since 1970 by the device's clock, which may have been set back in between; empty
            where they are not known.
    """

    ids: Ids
    classes: Ids
    codes: Codes
    tags: tuple[str | None, ...] = ()
    times: Float64 = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class NewSample:
    """What is stored of a sample beside its codes.

    Args:
        label: Class id, or None.
        digest: What tells its raw input from others.
        key: The application's own name for it.
        tag: Group, for example a person.
    """

    label: int | None
    digest: bytes
    key: str | None
    tag: str | None


def digest(salt: bytes, frame: NDArray[np.generic]) -> bytes:
    """Return 16 bytes that tell equal inputs. See `Store.digest`."""
    found = hashlib.sha256(salt)
    found.update(np.ascontiguousarray(frame).data)
    return found.digest()[:16]


def insert(db: Connection, samples: Sequence[NewSample], codes: Codes) -> list[int]:
    """Store samples with their ``(n, d) uint8`` codes, taking over what was staged of them. Returns their ids.

    Raises:
        DuplicateSampleError: If one is stored already, or occurs twice.
    """
    if not samples:
        return []
    contents = [slots.seal(sample.digest, row.tobytes()) for sample, row in zip(samples, codes, strict=True)]
    places = _take_over(db, samples, contents)
    left = [i for i in range(len(samples)) if i not in places]
    places |= zip(left, slots.place(db, [contents[i] for i in left]), strict=True)
    now, first = time.time(), db.number("SELECT max(seq) FROM sqlite_sequence WHERE name = 'samples'") + 1
    rows = [(first + i, places[i], s.label, s.key, s.tag, now, s.digest) for i, s in enumerate(samples)]
    try:
        with db.lock():
            db.raw.executemany(_INSERT, rows)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise
        # Another process stored it since `unstored` looked. What was written up to here shows which one it was.
        written = db.number("SELECT count(*) FROM samples WHERE id >= ?", (first,))
        raise DuplicateSampleError(_DUPLICATE.format(f"sample {written} again")) from error
    return [row[0] for row in rows]


def _take_over(db: Connection, samples: Sequence[NewSample], contents: Sequence[bytes]) -> dict[int, int]:
    """Turn the slots of staged samples into their own, and return them by place."""
    if not db.number("SELECT EXISTS (SELECT 1 FROM staged)"):
        return {}
    found = {}
    for i, sample in enumerate(samples):
        for (slot,) in db.rows("DELETE FROM staged WHERE digest = ? RETURNING slot", (sample.digest,)):
            slots.overwrite(db, int(slot), contents[i])
            found[i] = int(slot)
    return found


def remove(db: Connection, ids: Iterable[int]) -> int:
    """Delete samples and wipe their slots; what else is left of them goes when the table is rewritten.

    Returns:
        How many there were.
    """
    gone = [int(slot) for i in ids for (slot,) in db.rows("DELETE FROM samples WHERE id = ? RETURNING slot", (int(i),))]
    slots.wipe(db, gone)
    return len(gone)


def read_where(db: Connection, width: int, where: str, parameters: Sequence[Any] = ()) -> StoredSamples:
    """Read the samples that a condition on the table `samples`, called s, selects, in the order of the ids.

    Raises:
        StoreCorruptError: If a row does not hold a latent of this backbone, or not the one that was stored.
    """
    with db.reading():
        n = db.number(f"SELECT count(*) FROM samples AS s WHERE {where}", parameters)  # noqa: S608  ours
        return _collect(db, width, n, db.raw.execute(f"{_READ}{where} ORDER BY s.id", tuple(parameters)))


def read_ids(db: Connection, width: int, ids: Sequence[int]) -> StoredSamples:
    """Read samples in the order asked for.

    Raises:
        InputError: If an id is not stored.
    """
    with db.reading():
        rows = (row for i in ids for row in [_one(db, f"{_READ}s.id = ?", i)])
        return _collect(db, width, len(ids), rows)


def keys(db: Connection, ids: Sequence[int]) -> list[str | None]:
    """Return the keys of samples.

    Raises:
        InputError: If an id is not stored.
    """
    with db.reading():
        return [_one(db, "SELECT key FROM samples WHERE id = ?", i)[0] for i in ids]


def find(db: Connection, label_id: int | None, tag: str | None, key: str | None) -> Ids:
    """Return the ids of the samples of a class, with a tag and with a key, as far as these are given; ascending."""
    given = [
        (column, value) for column, value in (("class", label_id), ("tag", tag), ("key", key)) if value is not None
    ]
    where = " AND ".join([f"{column} = ?" for column, _ in given] or ["1"])
    rows = db.rows(f"SELECT id FROM samples WHERE {where} ORDER BY id", [value for _, value in given])  # noqa: S608  ours
    return np.array([row[0] for row in rows], np.int64)


def unstored(db: Connection, digests: Sequence[bytes], *, refuse: bool) -> tuple[list[int], dict[bytes, int]]:
    """Tell inputs that are not stored yet from those that are. See `Store.unstored`."""
    new: dict[bytes, int] = {}
    stored: dict[bytes, int] = {}
    with db.reading():
        for i, digest in enumerate(digests):
            found = db.rows("SELECT id FROM samples WHERE digest = ?", (digest,))
            if refuse and (found or digest in new):
                where = f"it is stored as id {found[0][0]}" if found else f"it equals sample {new[digest]} of the call"
                raise DuplicateSampleError(_DUPLICATE.format(f"sample {i} again: {where}"))
            if found:
                stored[digest] = int(found[0][0])
            else:
                new.setdefault(digest, i)
    return list(new.values()), stored


def set_class(db: Connection, ids: Sequence[int], classes: Sequence[int | None]) -> list[tuple[int, int]]:
    """Set the class of samples, inside a transaction.

    Returns:
        The class that each had and the one that it has now.

    Raises:
        InputError: If an id is not stored.
    """
    moves = []
    for i, c in zip(ids, classes, strict=True):
        (old,) = _one(db, "SELECT class FROM samples WHERE id = ?", i)
        if old != c:
            db.run("UPDATE samples SET class = ? WHERE id = ?", (c, int(i)))
            moves.append((UNLABELLED if old is None else int(old), UNLABELLED if c is None else c))
    return moves


def _one(db: Connection, query: str, sample: int) -> tuple[Any, ...]:
    found = db.rows(query, (int(sample),))
    if not found:
        raise InputError(f"expected ids that observe() returned, found {sample}. Look it up and try again.")
    return found[0]


def _collect(db: Connection, width: int, n: int, rows: Iterable[tuple[Any, ...]]) -> StoredSamples:
    ids, classes, times = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    codes, tags = np.empty((n, width), np.uint8), []
    for i, (sample, label, tag, made, digest, content) in enumerate(rows):
        row = slots.unseal(digest, content, width)
        if row is None:
            what = "its CRC-32 is another"
            if not isinstance(content, bytes) or len(content) != width + slots.SEAL_BYTES:
                what = f"it does not have {width} bytes of latent"
            raise StoreCorruptError(damage(db.name, f"sample {sample} is damaged: {what}"))
        ids[i], classes[i], times[i] = sample, UNLABELLED if label is None else label, made
        codes[i] = np.frombuffer(row, np.uint8)
        tags.append(tag)
    return StoredSamples(ids, classes, codes, tuple(tags), times)
