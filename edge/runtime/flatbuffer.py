"""Read a flatbuffer that may be hostile, without the flatbuffers package.

A table is the place where it begins, a list the range of places of its entries. Each read lies inside of the bytes, or
raises ValueError; that an offset points to what the schema says is for the runtime's own verifier to see.
"""

import struct
from collections.abc import Iterator
from typing import Any


def follow(view: memoryview, at: int) -> int:
    """Return where the offset at a place points to."""
    (offset,) = _read(view, at, "<I")
    return at + int(offset)


def field(view: memoryview, table: int, slot: int) -> int | None:
    """Return where a table's field lies, or None if the table leaves it out."""
    (back,) = _read(view, table, "<i")
    (size,) = _read(view, table - back, "<H")
    if 4 + 2 * slot >= size:
        return None
    (offset,) = _read(view, table - back + 4 + 2 * slot, "<H")
    return table + int(offset) if offset else None


def target(view: memoryview, table: int, slot: int) -> int | None:
    """Return where a field points to, or None if the table leaves it out."""
    place = field(view, table, slot)
    return None if place is None else follow(view, place)


def check_table(view: memoryview, table: int) -> None:
    """Check that a table and its fields lie inside of the file, whatever they are.

    Raises:
        ValueError: If they do not.
    """
    (back,) = _read(view, table, "<i")
    size, inline = _read(view, table - back, "<HH")
    offsets = _read(view, table - back, f"<{size // 2}H")[2:]
    if (
        size < 4
        or size % 2
        or table + inline > len(view)
        or any(offset and not 4 <= offset < inline for offset in offsets)
    ):
        raise ValueError("a table goes on behind its end")


def scalar(view: memoryview, table: int, slot: int, form: str, default: int) -> int:
    """Return a field that is a whole number, of the type that `form` names as `struct` does."""
    place = field(view, table, slot)
    return default if place is None else int(_read(view, place, form)[0])


def entries(view: memoryview, table: int, slot: int) -> range:
    """Return the places of a list's entries, as if each took one byte."""
    start = target(view, table, slot)
    if start is None:
        return range(0)
    (length,) = _read(view, start, "<I")
    if start + 4 + length > len(view):
        raise ValueError("a list goes on behind its end")
    return range(start + 4, start + 4 + length)


def numbers(view: memoryview, table: int, slot: int, form: str) -> tuple[Any, ...]:
    """Return a list of numbers of one type (``"i"`` int32, ``"q"`` int64, ``"f"`` float32)."""
    places = entries(view, table, slot)
    return _read(view, places.start, f"<{len(places)}{form}") if places else ()


def tables(view: memoryview, table: int, slot: int) -> Iterator[int]:
    """Yield the tables of a list."""
    places = entries(view, table, slot)
    for i in range(len(places)):
        yield follow(view, places.start + 4 * i)


def _read(view: memoryview, at: int, form: str) -> tuple[Any, ...]:
    # A place in front of the beginning would count from the end.
    if not 0 <= at < len(view):
        raise ValueError("it points outside of itself")
    try:
        return struct.unpack_from(form, view, at)
    except struct.error as error:
        raise ValueError("it ends in the middle of a number or a list") from error
