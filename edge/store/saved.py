"""Heads that left this store as updates, and what they were trained on: one that comes back brings that along."""

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .connection import Connection
from .versions import trained_on

Ids = NDArray[np.int64]
# The newest so many are known.
MAX_SAVED = 100


@record()
class Saved:
    """A head that was saved here.

    Args:
        samples: What `versions.pack_ids` made of the ids of the samples that it was trained on; None if that is not
            known.
        forgotten: Whether one of them was, or may have been, erased since.
    """

    samples: bytes | None
    forgotten: bool


def remember(db: Connection, digest: bytes, number: int) -> None:
    """Write down what a head is trained on that is being saved, inside a transaction.

    Args:
        db: Inside a transaction.
        digest: What tells its weights from others.
        number: The version that it is; one that is not there was erased.
    """
    found = db.rows("SELECT samples FROM versions WHERE id = ?", (number,))
    row = (digest, found[0][0] if found else None, int(not found))
    # The newest record of a head stands, and counts as new.
    db.run("INSERT OR REPLACE INTO saved (digest, samples, forgotten) VALUES (?, ?, ?)", row)
    db.run("DELETE FROM saved WHERE id NOT IN (SELECT id FROM saved ORDER BY id DESC LIMIT ?)", (MAX_SAVED,))


def find(db: Connection, digest: bytes) -> Saved | None:
    """Return what is known of a head; None for one that was not saved here."""
    for samples, forgotten in db.rows("SELECT samples, forgotten FROM saved WHERE digest = ?", (digest,)):
        return Saved(samples, bool(forgotten))
    return None


def forget(db: Connection, ids: Ids, stored: Ids) -> None:
    """Mark each saved head that was trained on one of some samples, inside a transaction. See `versions.trained_on`."""
    for number, runs in db.rows("SELECT id, samples FROM saved WHERE NOT forgotten"):
        if trained_on(runs, ids, stored):
            db.run("UPDATE saved SET samples = NULL, forgotten = 1 WHERE id = ?", (number,))


def used(db: Connection) -> int:
    """Return about how many bytes of the file this takes."""
    return db.number("SELECT sum(coalesce(length(samples), 0) + 100) FROM saved")
