"""Codes put aside while a long observation runs, so that a kill does not cost what was embedded."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...latent import Codes
from . import erase, slots
from .connection import Connection

# Who does not come back for a week does not come back.
MAX_AGE = 7 * 24 * 3600.0


def stage(db: Connection, digests: Sequence[bytes], codes: Codes) -> None:
    """Put codes of inputs aside, inside a transaction; those that are stored or staged already stay.

    Args:
        db: Inside a transaction.
        digests: `Store.digest` of every raw input.
        codes: ``(n, width) uint8``.
    """
    known = "SELECT 1 FROM staged WHERE digest = ? UNION ALL SELECT 1 FROM samples WHERE digest = ?"
    new = {
        digest: slots.seal(digest, row.tobytes())
        for digest, row in zip(digests, codes, strict=True)
        if not db.rows(known, (digest, digest))
    }
    places, now = slots.place(db, list(new.values())), time.time()
    with db.mapped():
        rows = [(digest, slot, now) for digest, slot in zip(new, places, strict=True)]
        db.raw.executemany("INSERT INTO staged VALUES (?, ?, ?)", rows)


def staged(db: Connection, width: int, digests: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
    """Return the ``(width,) uint8`` codes of those inputs that are staged, by digest; damaged ones are left out."""
    query = "SELECT l.codes FROM staged AS s JOIN latents AS l ON l.slot = s.slot WHERE s.digest = ?"
    found = {}
    with db.reading():
        for digest in digests:
            for (content,) in db.rows(query, (digest,)):
                row = slots.unseal(digest, content, width)
                if row is not None:
                    found[digest] = np.frombuffer(row, np.uint8)
    return found


def discard(db: Connection, digests: Sequence[bytes]) -> None:
    """Wipe what is staged of inputs that are not stored after all, inside a transaction."""
    gone = [
        int(slot)
        for digest in digests
        for (slot,) in db.rows("DELETE FROM staged WHERE digest = ? RETURNING slot", (digest,))
    ]
    if gone:
        slots.wipe(db, gone)
        erase.request(db)


def expire(db: Connection) -> None:
    """Wipe everything that is staged if some of it is older than a week, or from the future: clocks are set back."""
    if db.number("SELECT EXISTS (SELECT 1 FROM staged WHERE abs(? - time) > ?)", (time.time(), MAX_AGE)):
        with db.transaction():
            erase.drop_staged(db)
