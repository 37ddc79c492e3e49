"""Classes in the store: ids that are never used again, names that may change, and what became of the shipped ones."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreCorruptError, StoreMismatchError
from ...record import record
from .connection import Connection
from .database import damage

Ids = NDArray[np.int64]


@record()
class ClassRow:
    """A class as it is stored.

    Args:
        id: Its id.
        name: Its name now; None once it is removed.
        shipped: Its name in the bundle; None for one that was added here.
        state: ``"active"``, ``"frozen"`` or ``"removed"``.
        merged_into: The class that a removed one was merged into, or None.
    """

    id: int
    name: str | None
    shipped: str | None
    state: str
    merged_into: int | None


def row_seal(number: object, name: object, shipped: object, state: object, merged_into: object) -> int:
    """Return the CRC-32 by which damage of a row is told, over its columns as a JSON array of ASCII characters."""
    return zlib.crc32(json.dumps([number, name, shipped, state, merged_into]).encode())


def names(db: Connection) -> dict[int, str]:
    """Return the name of every class that is there, by id."""
    return {row.id: row.name for row in _read(db) if row.name is not None and row.state != "removed"}


def add(db: Connection, wanted: Sequence[str]) -> None:
    """Add classes that are not there yet, inside a transaction; they get ids that no class has had."""
    # A look first: an insertion that is ignored would use up an id all the same.
    known = set(names(db).values())
    for name in dict.fromkeys(wanted):
        if name not in known:
            cursor = db.run("INSERT INTO classes (name, state) VALUES (?, 'active')", (name,))
            _write(db, ClassRow(int(cursor.lastrowid or 0), name, None, "active", None))


def ship(db: Connection, shipped: Sequence[str], *, migrated: bool) -> None:
    """Write down which classes the bundle ships, inside the transaction that makes or migrates the store."""
    if not migrated:
        db.raw.executemany("INSERT INTO classes (id, state) VALUES (?, 'active')", [(i,) for i in range(len(shipped))])
        for i, name in enumerate(shipped):
            _write(db, ClassRow(i, name, name, "active", None))
        return
    # Before schema version 2 no class could be renamed: a shipped one still has its name.
    first = [row for row in _read(db) if row.id < len(shipped)]
    check_shipped([str(row.name) for row in first], shipped, db.name)
    for row in first:
        _write(db, replace(row, shipped=row.name))


def check(db: Connection, shipped: Sequence[str]) -> None:
    """Check that the store was made with the classes of this bundle.

    Raises:
        StoreMismatchError: If not.
        StoreCorruptError: If one of them is damaged.
    """
    check_shipped([row.shipped for row in _read(db) if row.shipped is not None], shipped, db.name)


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
    now = {row.id: row.merged_into if row.state == "removed" else row.id for row in _read(db)}
    return {i: into for i, into in now.items() if into is not None}


def of_shipped(db: Connection) -> Ids:
    """Return ``(rows,) int64``: the class id that each shipped class stands for now, -1 if it is removed."""
    now = become(db)
    return np.array([now.get(row.id, -1) for row in _read(db) if row.shipped is not None], np.int64)


def frozen(db: Connection) -> frozenset[int]:
    """Return the ids of the frozen classes."""
    return frozenset(row.id for row in _read(db) if row.state == "frozen")


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
    _write(db, replace(_one(db, class_id), name=name))


def set_frozen(db: Connection, class_id: int, is_frozen: bool) -> None:
    """Freeze a class or learn it again, inside a transaction.

    Raises:
        InputError: If there is no such class.
    """
    require(db, [class_id])
    _write(db, replace(_one(db, class_id), state="frozen" if is_frozen else "active"))


def remove(db: Connection, class_id: int, into: int | None = None) -> None:
    """Take a class and its name away, inside a transaction; its id stays known, and what it was merged into.

    Raises:
        InputError: If there is no such class.
    """
    require(db, [class_id] if into is None else [class_id, into])
    for row in _read(db):
        if row.id == class_id:
            _write(db, replace(row, name=None, state="removed", merged_into=into))
        elif row.merged_into == class_id:
            # What was merged into it before shares its fate.
            _write(db, replace(row, merged_into=into))


def _read(db: Connection) -> list[ClassRow]:
    """Return every class, removed ones too, in the order of the ids.

    Raises:
        StoreCorruptError: If one is not what was stored.
    """
    found = db.rows("SELECT id, name, shipped, state, merged_into, seal FROM classes ORDER BY id")
    for number, name, shipped, state, merged_into, sealed in found:
        try:
            whole = row_seal(number, name, shipped, state, merged_into) == sealed
        except TypeError:
            # Bytes in the place of a text or a number.
            whole = False
        if not whole:
            raise StoreCorruptError(damage(db.name, f"class {number!r:.20} is damaged: its CRC-32 is another"))
    return [ClassRow(*row[:5]) for row in found]


def _one(db: Connection, class_id: int) -> ClassRow:
    return next(row for row in _read(db) if row.id == class_id)


def _write(db: Connection, row: ClassRow) -> None:
    sealed = row_seal(row.id, row.name, row.shipped, row.state, row.merged_into)
    values = (row.name, row.shipped, row.state, row.merged_into, sealed, row.id)
    db.run("UPDATE classes SET name = ?, shipped = ?, state = ?, merged_into = ?, seal = ? WHERE id = ?", values)
