"""Erasing to the last byte: what is deleted leaves no copy in the database file, its log or the log's index.

Three things are needed, each seen to leave content behind without it. `secure_delete` zeroes what is deleted. Tables
are rewritten, since SQLite moves rows between pages and leaves copies of them in what it then counts as unused. And the
log, which holds the pages as they were before, is copied into the file and cut to nothing, which no open reader may
stand in the way of: until that is done, a durable count says that it is still to do.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreCorruptError
from . import census, reservoir, samples, saved, slots, versions
from .connection import Connection
from .database import damage

Ids = NDArray[np.int64]
# Seconds at a time that finishing waits for a reader.
_PATIENCE = 0.1


def erase(db: Connection, ids: Sequence[int]) -> None:
    """Delete samples, everything staged, and each version that was trained on one of them, inside a transaction.

    Ids that are gone already are passed over, so that a call that was cut off can be repeated.

    Raises:
        InputError: If an id was never given to a sample.
    """
    wanted = sorted({int(i) for i in ids})
    given = db.number("SELECT max(seq) FROM sqlite_sequence WHERE name = 'samples'")
    unknown = [i for i in wanted if not 0 < i <= given]
    if unknown:
        raise InputError(f"expected ids that observe() returned, found {unknown[:5]}. Nothing was erased.")
    if wanted:
        stored = np.array([i for (i,) in db.rows("SELECT id FROM samples ORDER BY id")], np.int64)
        gone = np.array(wanted, np.int64)
        saved.forget(db, gone, stored)
        if versions.drop_trained_on(db, gone, stored):
            rewrite(db, "versions")
            request(db)
        drop_staged(db)
        drop_samples(db, wanted)


def drop_samples(db: Connection, ids: Sequence[int], *, evicting: bool = False) -> None:
    """Delete samples and rewrite what is left, inside a transaction; versions stay.

    Args:
        db: Inside a transaction.
        ids: The samples.
        evicting: Whether they count as seen all the same, since the reservoir chose them.
    """
    seen, before = read_seen(db), census.count_by_class(db)
    removed = samples.remove(db, ids)
    if removed:
        if seen and not evicting:
            write_seen(db, reservoir.after_loss(seen, before, census.count_by_class(db)))
        rewrite(db, "samples")
        request(db)


def drop_staged(db: Connection) -> None:
    """Delete everything that is staged, inside a transaction."""
    found = [slot for (slot,) in db.rows("SELECT slot FROM staged")]
    if found:
        slots.wipe(db, found)
        db.run("DELETE FROM staged")
        request(db)


def rewrite(db: Connection, table: str) -> None:
    """Write a table anew, in the order of its ids, inside a transaction.

    Deleting every row frees and zeroes every page of the table and of its indexes, with all that was left on them.
    """
    db.run(f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}")  # noqa: S608  one of our tables
    db.run(f"DELETE FROM main.{table}")  # noqa: S608
    db.run(f"INSERT INTO main.{table} SELECT * FROM temp.kept ORDER BY id")  # noqa: S608
    db.run("DROP TABLE temp.kept")


def request(db: Connection, *, compact: bool = False) -> None:
    """Write down, in the transaction that deletes, that the log has to be cut after it."""
    if compact:
        db.set("compact", 1)
    db.set("erasures", db.count_setting("erasures") + 1)


def pending(db: Connection) -> bool:
    """Return whether something deleted may still be in the files."""
    return db.count_setting("scrubbed") < db.count_setting("erasures")


def finish(db: Connection, timeout: float) -> bool:
    """Do what `request` asked for.

    Args:
        db: Outside a transaction; inside one nothing can be done yet.
        timeout: Seconds to wait for those who read or write.

    Returns:
        Whether nothing is left to do.
    """
    # Read first: what another process asks for from now on, it finishes itself.
    asked = db.count_setting("erasures")
    if db.count_setting("scrubbed") >= asked:
        return True
    if db.read_only or db.in_transaction or not _compacted(db):
        return False
    until = time.monotonic() + timeout
    while not db.checkpoint(min(_PATIENCE, timeout)):
        # In between, other threads get at the store.
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    with db.transaction():
        if db.count_setting("scrubbed") < asked:
            db.set("scrubbed", asked)
    return not pending(db)


def write_seen(db: Connection, counts: Mapping[int, float]) -> None:
    """Store how many samples each class that has lost some was given, inside a transaction."""
    db.run("DELETE FROM seen")
    db.raw.executemany("INSERT INTO seen VALUES (?, ?)", list(counts.items()))


def read_seen(db: Connection) -> dict[int, float]:
    """Return how many samples each class that has lost some was given; those without a label under -1."""
    found = db.rows("SELECT class, count FROM seen")
    if not all(isinstance(c, int) and isinstance(n, float) for c, n in found):
        raise StoreCorruptError(damage(db.name, "its table 'seen' holds something else than counts"))
    return dict(found)


def _compacted(db: Connection) -> bool:
    """Shrink the file if that was asked for, and return whether it is done."""
    if not db.count_setting("compact"):
        return True
    try:
        with db.mapped():
            db.raw.execute("VACUUM")
    except sqlite3.Error:
        return False
    with db.transaction():
        db.set("compact", 0)
    return True
