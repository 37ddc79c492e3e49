"""How many samples there are, of which classes, and whether certain ones are."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreCorruptError
from .connection import Connection
from .database import damage
from .versions import pack_ids

Ids = NDArray[np.int64]
_IN_RUN = "SELECT count(*) FROM samples WHERE id BETWEEN first AND last"
# Runs of ids that are asked for at once; SQLite takes at least 999 parameters.
_RUNS = 400


def count(db: Connection) -> tuple[int, int]:
    """Return how many samples are stored, and how many of them are labelled."""
    ((every, labelled),) = db.rows("SELECT count(*), count(coalesce(class, target)) FROM samples")
    return int(every), int(labelled)


def count_by_class(db: Connection) -> dict[int, int]:
    """Return the number of samples of each class that has some; those without a label under -1."""
    rows = db.rows("SELECT coalesce(class, -1), count(*) FROM samples GROUP BY 1")
    if not all(isinstance(c, int) for c, _ in rows):
        raise StoreCorruptError(damage(db.name, "a sample's class is no number"))
    return {int(c): int(n) for c, n in rows}


def ids_by_class(db: Connection) -> Mapping[int, list[int]]:
    """Return the ids of the samples of each class that has some, ascending; those without a label under -1."""
    found: dict[int, list[int]] = {}
    for i, c in db.rows("SELECT id, coalesce(class, -1) FROM samples ORDER BY id"):
        found.setdefault(int(c), []).append(int(i))
    return found


def holds(db: Connection, ids: Ids) -> bool:
    """Return whether every one of ``(n,)`` ids is stored. Asks SQLite to count in each run of ids, and reads no row."""
    runs = np.frombuffer(pack_ids(ids), "<i8").reshape(-1, 2)
    there = 0
    with db.reading():
        for start in range(0, len(runs), _RUNS):
            some = runs[start : start + _RUNS]
            rows = ", ".join(["(?, ?)"] * len(some))
            query = f"WITH runs (first, last) AS (VALUES {rows}) SELECT sum(({_IN_RUN})) FROM runs"  # noqa: S608  ours
            there += db.number(query, some.reshape(-1).tolist())
    return there == int((runs[:, 1] - runs[:, 0] + 1).sum())
