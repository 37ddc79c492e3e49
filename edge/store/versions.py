"""Versions in the store: what was accepted, what it was trained on, and whether it is still what was stored."""

import hashlib
import json
import re
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreCorruptError
from ...record import record
from ..distinct import distinct
from .connection import Connection
from .database import damage

Ids = NDArray[np.int64]
# The newest so many are kept, and the current one.
MAX_VERSIONS = 20
_REDACTED = "(removed)"


@record()
class StoredVersion:
    """An accepted adaptation as it is stored.

    Args:
        id: Its number, from 1; numbers are never used again.
        time: When it was made, in seconds since 1970, by the device's clock.
        report: JSON text.
        head: The head's weights.
        intact: Whether report and head are what was stored, by their SHA-256.
    """

    id: int
    time: float
    report: str
    head: bytes
    intact: bool = True


def fingerprint(report: str, head: bytes, samples: bytes | None) -> bytes:
    """Return the SHA-256 by which damage of a version is told."""
    digest = hashlib.sha256()
    for part in (report.encode(), head, samples or b""):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def pack_ids(ids: Ids) -> bytes:
    """Write ids, in any order, as runs: ``(r, 2)`` first and last of each, little-endian 64-bit numbers, ascending."""
    ordered = distinct(np.asarray(ids, np.int64))
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 2) != 1)
    last = np.append(first[1:] - 1, len(ordered) - 1) if len(ordered) else first
    return np.stack([ordered[first], ordered[last]], axis=1).astype("<i8").tobytes()


def trained_on(runs: bytes | None, ids: Ids, stored: Ids) -> bool:
    """Return whether a version was, or may have been, trained on one of some samples.

    Args:
        runs: What `pack_ids` wrote when it was made; None or malformed if that is not known, which counts as yes.
        ids: ``(n,)`` the samples asked for.
        stored: ``(m,)`` every sample that is stored, ascending. A version that was trained on others, which were
            evicted, counts too: whose these were cannot be told any more.
    """
    if not isinstance(runs, bytes) or len(runs) % 16:
        return True
    pairs = np.frombuffer(runs, "<i8").reshape(-1, 2)
    if not len(pairs):
        return False
    at = np.searchsorted(pairs[:, 0], ids, side="right") - 1
    if ((at >= 0) & (ids <= pairs[np.maximum(at, 0), 1])).any():
        return True
    left = np.searchsorted(stored, pairs[:, 1], side="right") - np.searchsorted(stored, pairs[:, 0])
    return bool((left != pairs[:, 1] - pairs[:, 0] + 1).any())


def insert(db: Connection, report: str, head: bytes, samples: Ids | bytes | None) -> int:
    """Store a version, make it the current one, and drop those beyond the newest `MAX_VERSIONS`.

    Args:
        db: Inside a transaction.
        report: JSON text.
        head: The head's weights.
        samples: ``(n,)`` ids of the samples that it was trained on, or what `pack_ids` made of them; None if that is
            not known.

    Returns:
        Its number.
    """
    runs = samples if samples is None or isinstance(samples, bytes) else pack_ids(samples)
    row = (time.time(), report, head, runs, fingerprint(report, head, runs))
    cursor = db.run("INSERT INTO versions (time, report, head, samples, seal) VALUES (?, ?, ?, ?, ?)", row)
    number = int(cursor.lastrowid or 0)
    use(db, number)
    db.run("DELETE FROM versions WHERE id NOT IN (SELECT id FROM versions ORDER BY id DESC LIMIT ?)", (MAX_VERSIONS,))
    return number


def use(db: Connection, number: int) -> None:
    """Make a version the current one, inside a transaction; 0 is the shipped head.

    Going back to an earlier one takes those after it off the trail.
    """
    before = [earlier for earlier in trail(db) if earlier < number]
    db.set("trail", " ".join(map(str, [*before, number] if number else [])))
    db.set("current", number)
    # What is chosen stays chosen: a refit that could not be stored yet must not take its place later.
    db.set("refit", 0)


def trail(db: Connection) -> list[int]:
    """Return the versions that were in use, oldest first, without those that were gone back from, or are gone.

    The last one is in use, unless the one that was is erased.

    Raises:
        StoreCorruptError: If that is not what is stored.
    """
    found = db.setting("trail")
    if not isinstance(found, str) or not all(part.isdecimal() for part in found.split()):
        raise StoreCorruptError(damage(db.name, f"its setting 'trail' is {found!r:.40}"))
    there = {number for (number,) in db.rows("SELECT id FROM versions")}
    return [number for number in map(int, found.split()) if number in there]


def read(db: Connection, number: int) -> StoredVersion | None:
    """Return a version, whether it is intact or not; None if it is not there."""
    try:
        with db.mapped():
            query = "SELECT time, report, head, samples, seal FROM versions WHERE id = ?"
            row = db.raw.execute(query, (number,)).fetchone()
    except StoreCorruptError:
        # One unreadable page must not take the others along.
        return StoredVersion(number, 0.0, "", b"", intact=False)
    if row is None:
        return None
    made, report, head, runs, sealed = row
    kinds = (float, str, bytes, bytes | None, bytes)
    if not all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)):
        return StoredVersion(number, 0.0, "", b"", intact=False)
    return StoredVersion(number, made, report, head, fingerprint(report, head, runs) == sealed)


def read_all(db: Connection) -> list[StoredVersion]:
    """Return every version, oldest first."""
    with db.reading():
        numbers = [number for (number,) in db.rows("SELECT id FROM versions ORDER BY id")]
        return [found for number in numbers if (found := read(db, number)) is not None]


def require(db: Connection, number: int) -> StoredVersion:
    """Return an intact version.

    Raises:
        StoreCorruptError: If it is missing or damaged.
    """
    found = read(db, number)
    if found is None:
        raise StoreCorruptError(damage(db.name, f"version {number} is missing"))
    if not found.intact:
        raise StoreCorruptError(damage(db.name, f"version {number} is damaged: its SHA-256 is another"))
    return found


def drop_trained_on(db: Connection, ids: Ids, stored: Ids) -> bool:
    """Delete every version that was trained on one of the samples; without the current one, version 0 is in use.

    Returns:
        Whether there was one.
    """
    gone = [number for number, runs in db.rows("SELECT id, samples FROM versions") if trained_on(runs, ids, stored)]
    with db.mapped():
        db.raw.executemany("DELETE FROM versions WHERE id = ?", [(number,) for number in gone])
    if db.count_setting("current") in gone:
        db.set("current", 0)
        db.set("refit", 1)
    return bool(gone)


def redact(db: Connection, name: str) -> None:
    """Take a name out of the texts in the reports of all versions, where it stands as a word, inside a transaction.

    Of a damaged version the whole report goes, and it stays damaged.
    """
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")

    def without(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(_REDACTED, value)
        if isinstance(value, list):
            return [without(item) for item in value]
        return {without(k): without(v) for k, v in value.items()} if isinstance(value, dict) else value

    for number, report, head, runs, sealed in db.rows("SELECT id, report, head, samples, seal FROM versions"):
        try:
            whole = fingerprint(report, head, runs) == sealed
            plain = json.loads(report)
        except (AttributeError, TypeError, ValueError):
            whole = False
        if not whole:
            # A new seal would make it pass for good. Its report is of no use, and may hold the name in any form.
            db.run("UPDATE versions SET report = '' WHERE id = ?", (number,))
            continue
        if (clean := without(plain)) != plain:
            text = json.dumps(clean)
            values = (text, fingerprint(text, head, runs), number)
            db.run("UPDATE versions SET report = ?, seal = ? WHERE id = ?", values)
