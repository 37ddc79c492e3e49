"""Changes of classes that change samples too: labelling, merging, removing."""

from collections.abc import Sequence

from ...errors import InputError
from . import census, class_table, erase, reservoir, samples, versions
from .connection import Connection


def label(db: Connection, ids: Sequence[int], classes: Sequence[int | None]) -> None:
    """Set the class of samples, inside a transaction.

    Raises:
        InputError: If an id is not stored, or there is no such class.
    """
    class_table.require(db, classes)
    seen = erase.read_seen(db)
    sizes = census.count_by_class(db) if seen else {}
    moves = samples.set_class(db, ids, classes)
    if seen:
        erase.write_seen(db, reservoir.after_moves(seen, sizes, moves))


def merge(db: Connection, ids: Sequence[int], into: int) -> None:
    """Give the samples of classes to another one, and remove the emptied ones, inside a transaction.

    Raises:
        InputError: If there is no such class, or one is to be merged into itself.
    """
    if into in ids:
        raise InputError(f"expected classes to merge into another one, found {into} on both sides.")
    class_table.require(db, [*ids, into])
    for class_id in dict.fromkeys(ids):
        _relabel(db, class_id, into)
        class_table.remove(db, class_id, into)


def remove(db: Connection, class_id: int, *, forget: bool) -> None:
    """Remove a class, inside a transaction. See `Store.remove_class`.

    Raises:
        InputError: If there is no such class.
    """
    class_table.require(db, [class_id])
    name = class_table.names(db)[class_id]
    if not forget:
        _relabel(db, class_id, None)
        class_table.remove(db, class_id)
        return
    erase.erase(db, samples.find(db, class_id, None, None).tolist())
    class_table.remove(db, class_id)
    versions.redact(db, name)
    for table in ("classes", "versions"):
        erase.rewrite(db, table)
    erase.request(db)


def _relabel(db: Connection, old: int, new: int | None) -> None:
    ids = samples.find(db, old, None, None).tolist()
    label(db, ids, [new] * len(ids))
