"""Samples in the store: put in, looked up, labelled, read back."""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from ...errors import DuplicateSampleError, StoreCorruptError
from ...latent import Codes
from ...record import record
from . import class_table, slots
from .connection import Connection
from .database import damage
from .sample_rows import COLUMNS, Row, change, checked, find, one, sample_seal, take_out

__all__ = [
    "Ids",
    "NewSample",
    "StoredSamples",
    "digest",
    "find",
    "insert",
    "keys",
    "read_ids",
    "read_maps",
    "read_where",
    "remove",
    "set_class",
    "unstored",
]

Ids = NDArray[np.int64]
Float64 = NDArray[np.float64]
_DUPLICATE = (
    "expected samples that are not stored yet, found {}. Nothing was stored. Leave it out, or pass on_duplicate='skip'."
)
_READ = f"SELECT {COLUMNS}, l.codes FROM samples AS s LEFT JOIN latents AS l ON l.slot = s.slot WHERE s.id = ?"  # noqa: S608  ours
_INSERT = "INSERT INTO samples (id, slot, class, key, tag, time, digest, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
UNLABELLED = -1


@record(eq=False)
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


@record()
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
    """Store samples with their ``(n, width) uint8`` codes, taking over what was staged of them. Returns their ids.

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
    sealed = [(*row, sample_seal(*row, None)) for row in rows]
    try:
        with db.lock():
            db.raw.executemany(_INSERT, sealed)
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
    count, gone = take_out(db, ids)
    slots.wipe(db, gone)
    return count


def read_where(db: Connection, width: int, latent: int, where: str) -> StoredSamples:
    """Read the samples that a condition on the table `samples`, called s, selects, in the order of the ids.

    Args:
        db: The database.
        width: Number of codes of one sample.
        latent: How many of them are the latent's, and are returned; a map may follow.
        where: The condition, true or false.

    Raises:
        StoreCorruptError: If a row does not hold a latent of this backbone, or not the one that was stored; or if any
            row is damaged, since that one may have been selected before.
    """
    joined = f"samples AS s LEFT JOIN latents AS l ON l.slot = s.slot AND {where}"
    with db.reading():
        n = db.number(f"SELECT count(*) FROM samples AS s WHERE {where}")  # noqa: S608  ours
        rows = db.raw.execute(f"SELECT {COLUMNS}, l.codes, {where} FROM {joined} ORDER BY s.id")  # noqa: S608
        return _collect(db, width, latent, n, (row[:-1] for row in checked(db, rows) if row[-1]))


def read_ids(db: Connection, width: int, latent: int, ids: Sequence[int]) -> StoredSamples:
    """Read samples in the order asked for; `width` and `latent` as for `read_where`.

    Raises:
        InputError: If an id is not stored.
    """
    with db.reading():
        return _collect(db, width, latent, len(ids), (one(db, i, _READ) for i in ids))


def read_maps(db: Connection, width: int, latent: int, ids: Sequence[int]) -> Codes:
    """Read what follows the latent, ``(n, width - latent) uint8``, in the order asked for.

    Raises:
        InputError: If an id is not stored.
        StoreCorruptError: If a row does not hold what was stored.
    """
    codes = np.empty((len(ids), width - latent), np.uint8)
    with db.reading():
        for i, sample in enumerate(ids):
            codes[i] = np.frombuffer(_unseal(db, width, one(db, sample, _READ)), np.uint8)[latent:]
    return codes


def keys(db: Connection, ids: Sequence[int]) -> list[str | None]:
    """Return the keys of samples.

    Raises:
        InputError: If an id is not stored.
    """
    with db.reading():
        return [one(db, i)[3] for i in ids]


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
        old = change(db, i, **{"class": c})[2]
        if old != c:
            moves.append((UNLABELLED if old is None else int(old), UNLABELLED if c is None else c))
    return moves


def _collect(db: Connection, width: int, latent: int, n: int, rows: Iterable[Row]) -> StoredSamples:
    ids, classes, times = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    codes, tags, known = np.empty((n, latent), np.uint8), [], class_table.names(db)
    for i, row in enumerate(rows):
        sample, _, label, _, tag, made, *_ = row
        if label is not None and label not in known:
            raise StoreCorruptError(damage(db.name, f"sample {sample} is of class {label}, which is not there"))
        ids[i], classes[i], times[i] = sample, UNLABELLED if label is None else label, made
        codes[i] = np.frombuffer(_unseal(db, width, row), np.uint8, latent)
        tags.append(tag)
    return StoredSamples(ids, classes, codes, tuple(tags), times)


def _unseal(db: Connection, width: int, row: Row) -> memoryview:
    """Return the codes of a row that begins with `COLUMNS` and ends with what its slot holds."""
    sample, digest, content = row[0], row[6], row[-1]
    found = slots.unseal(digest, content, width)
    if found is None:
        what = "its CRC-32 is another"
        if not isinstance(content, bytes) or len(content) != width + slots.SEAL_BYTES:
            what = f"it does not have {width} bytes of latent"
        raise StoreCorruptError(damage(db.name, f"sample {sample} is damaged: {what}"))
    return found
