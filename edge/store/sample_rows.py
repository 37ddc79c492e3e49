"""Rows of samples: each carries a CRC-32, so that a label, target, key or tag that was damaged trains nothing."""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, StoreCorruptError
from .connection import Connection
from .database import damage

Ids = NDArray[np.int64]
Row = tuple[Any, ...]
# What the seal is over, in this order, and the seal.
_SEALED = ("id", "slot", "class", "key", "tag", "time", "digest", "target")
COLUMNS = ", ".join(f"s.{name}" for name in (*_SEALED, "seal"))


def sample_seal(
    number: object,
    slot: object,
    label: object,
    key: object,
    tag: object,
    made: float,
    digest: bytes,
    target: bytes | None,
) -> int:
    """Return the CRC-32 by which damage of a row is told, over its columns as a JSON array of ASCII characters.

    The time stands there as the eight bytes of a little-endian float64; these, like all bytes, as hexadecimal digits.
    """
    values = [number, slot, label, key, tag, struct.pack("<d", made).hex(), digest.hex()]
    return zlib.crc32(json.dumps([*values, None if target is None else target.hex()]).encode())


def check(db: Connection, row: Row) -> Row:
    """Return a row that begins with `COLUMNS`, if it is what was stored.

    Raises:
        StoreCorruptError: If not.
    """
    if not _whole(row):
        what = f"sample {row[0]!r:.20} is damaged: the CRC-32 of its row is another, so its label may be too"
        raise StoreCorruptError(damage(db.name, what, "Forget it by its id. Or: "))
    return row


def _whole(row: Row) -> bool:
    try:
        return bool(sample_seal(*row[: len(_SEALED)]) == row[len(_SEALED)])
    except (TypeError, AttributeError, struct.error):
        # Something else in the place of a text, a number or bytes.
        return False


def checked(db: Connection, rows: Iterable[Row]) -> Iterator[Row]:
    """Check rows one by one. See `check`."""
    return (check(db, row) for row in rows)


def one(db: Connection, sample: int, query: str = f"SELECT {COLUMNS} FROM samples AS s WHERE s.id = ?") -> Row:  # noqa: S608  ours
    """Return a sample's row, checked.

    Args:
        db: The database.
        sample: Its id.
        query: Gives `COLUMNS`, and what else is asked for behind them.

    Raises:
        InputError: If it is not stored.
        StoreCorruptError: If it is damaged.
    """
    found = db.rows(query, (int(sample),))
    if not found:
        raise InputError(f"expected ids that observe() returned, found {sample}. Look it up and try again.")
    return check(db, found[0])


def change(db: Connection, sample: int, **values: object) -> Row:
    """Write columns of a sample's row, inside a transaction, and return the row as it was.

    Raises:
        InputError: If it is not stored.
        StoreCorruptError: If it is damaged: a new seal must not cover that.
    """
    old = one(db, sample)
    new = {**dict(zip(_SEALED, old, strict=False)), **values}
    if any(new[name] != was for name, was in zip(_SEALED, old, strict=False)):
        columns = ", ".join(f"{name} = ?" for name in (*values, "seal"))
        query = f"UPDATE samples SET {columns} WHERE id = ?"  # noqa: S608  our columns
        db.run(query, (*values.values(), sample_seal(*new.values()), int(sample)))
    return old


def take_out(db: Connection, ids: Iterable[int]) -> tuple[int, list[int]]:
    """Delete rows, inside a transaction.

    Returns:
        How many there were, and the slots that are nobody's by that.
    """
    query = f"DELETE FROM samples WHERE id = ? RETURNING {', '.join((*_SEALED, 'seal'))}"  # noqa: S608  ours
    rows = [row for i in ids for row in db.rows(query, (int(i),))]
    if all(_whole(row) for row in rows):
        return len(rows), [int(row[1]) for row in rows]
    # A damaged row may name the slot of another sample, and not name its own.
    claimed = " UNION ALL ".join(f"SELECT slot FROM {table}" for table in ("samples", "staged", "free"))  # noqa: S608
    found = db.rows(f"SELECT slot FROM latents WHERE slot NOT IN ({claimed})")  # noqa: S608
    return len(rows), [int(slot) for (slot,) in found]


def find(db: Connection, label_id: int | None, tag: str | None, key: str | None) -> Ids:
    """Return the ids of the samples of a class, with a tag and with a key, as far as these are given; ascending.

    Raises:
        StoreCorruptError: If a class or tag is given and any sample is damaged: it may be one of them, or not.
    """
    given = [("class", label_id), ("tag", tag), ("key", key)]
    where = " AND ".join([f"s.{column} = ?" for column, value in given if value is not None] or ["1"])
    values: Sequence[object] = [value for _, value in given if value is not None]
    if label_id is None and tag is None:
        found = db.rows(f"SELECT s.id FROM samples AS s WHERE {where} ORDER BY s.id", values)  # noqa: S608  ours
    else:
        rows = db.rows(f"SELECT {COLUMNS}, {where} FROM samples AS s ORDER BY s.id", values)  # noqa: S608
        found = [row for row in checked(db, rows) if row[-1]]
    return np.array([row[0] for row in found], np.int64)
