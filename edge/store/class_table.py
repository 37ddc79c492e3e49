"""Classes in the store: ids that are never used again, names that may change, and what became of the shipped ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreMismatchError
from .connection import Connection

Ids = NDArray[np.int64]


def names(db: Connection) -> dict[int, str]:
    """Return the name of every class that is there, by id."""
    return dict(db.rows("SELECT id, name FROM classes WHERE state != 'removed' ORDER BY id"))


def add(db: Connection, wanted: Sequence[str]) -> None:
    """Add classes that are not there yet, inside a transaction; they get ids that no class has had."""
    # A look first: an insertion that is ignored would use up an id all the same.
    known = set(names(db).values())
    for name in dict.fromkeys(wanted):
        if name not in known:
            db.run("INSERT INTO classes (name, state) VALUES (?, 'active')", (name,))


def ship(db: Connection, shipped: Sequence[str], *, migrated: bool) -> None:
    """Write down which classes the bundle ships, inside the transaction that makes or migrates the store."""
    if not migrated:
        rows = [(i, name, name) for i, name in enumerate(shipped)]
        db.raw.executemany("INSERT INTO classes (id, name, shipped, state) VALUES (?, ?, ?, 'active')", rows)
        return
    # Before schema version 2 no class could be renamed: a shipped one still has its name.
    first = db.rows("SELECT name FROM classes WHERE id < ? ORDER BY id", (len(shipped),))
    check_shipped([name for (name,) in first], shipped, db.name)
    db.run("UPDATE classes SET shipped = name WHERE id < ?", (len(shipped),))


def check(db: Connection, shipped: Sequence[str]) -> None:
    """Check that the store was made with the classes of this bundle.

    Raises:
        StoreMismatchError: If not.
    """
    rows = db.rows("SELECT shipped FROM classes WHERE shipped IS NOT NULL ORDER BY id")
    check_shipped([name for (name,) in rows], shipped, db.name)


def check_shipped(found: Sequence[str], expected: Sequence[str], name: str) -> None:
    """Compare two lists of shipped classes.

    Raises:
        StoreMismatchError: If they differ.
    """
    if list(found) != list(expected):
        raise StoreMismatchError(
            f"{name}: expected the classes {list(expected)[:20]} of this bundle, found {list(found)[:20]}. "
            f"Open it with the bundle it was made with, or start a new store for this one."
        )


def become(db: Connection) -> dict[int, int]:
    """Return what each class id stands for now: itself, or what it was merged into; removed ones are missing."""
    rows = db.rows("SELECT id, state, merged_into FROM classes ORDER BY id")
    return {i: i if state != "removed" else into for i, state, into in rows if state != "removed" or into is not None}


def of_shipped(db: Connection) -> Ids:
    """Return ``(rows,) int64``: the class id that each shipped class stands for now, -1 if it is removed."""
    now = become(db)
    rows = db.rows("SELECT id FROM classes WHERE shipped IS NOT NULL ORDER BY id")
    return np.array([now.get(i, -1) for (i,) in rows], np.int64)


def frozen(db: Connection) -> frozenset[int]:
    """Return the ids of the frozen classes."""
    return frozenset(i for (i,) in db.rows("SELECT id FROM classes WHERE state = 'frozen'"))


def require(db: Connection, ids: Sequence[int | None]) -> None:
    """Check class ids; None passes.

    Raises:
        InputError: If there is no such class, or not any more.
    """
    missing = sorted({i for i in ids if i is not None} - names(db).keys())
    if missing:
        raise InputError(f"expected ids of classes that are there, found {missing[:5]}. Nothing was changed.")


def rename(db: Connection, class_id: int, name: str) -> None:
    """Give a class another name, inside a transaction.

    Raises:
        InputError: If there is no such class, or another one has the name.
    """
    require(db, [class_id])
    if any(name == other and i != class_id for i, other in names(db).items()):
        raise InputError(f"expected a name that no other class has, found {name!r}. Merge the two, or choose another.")
    db.run("UPDATE classes SET name = ? WHERE id = ?", (name, class_id))


def set_frozen(db: Connection, class_id: int, is_frozen: bool) -> None:
    """Freeze a class or learn it again, inside a transaction.

    Raises:
        InputError: If there is no such class.
    """
    require(db, [class_id])
    db.run("UPDATE classes SET state = ? WHERE id = ?", ("frozen" if is_frozen else "active", class_id))


def remove(db: Connection, class_id: int, into: int | None = None) -> None:
    """Take a class and its name away, inside a transaction; its id stays known, and what it was merged into.

    Raises:
        InputError: If there is no such class.
    """
    require(db, [class_id] if into is None else [class_id, into])
    db.run("UPDATE classes SET name = NULL, state = 'removed', merged_into = ? WHERE id = ?", (into, class_id))
    # What was merged into it before shares its fate.
    db.run("UPDATE classes SET merged_into = ? WHERE merged_into = ?", (into, class_id))
