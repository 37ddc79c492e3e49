"""Write a flatbuffer, or a new front for one that is there, without the flatbuffers package.

Offsets in a flatbuffer are relative and point forward. So whatever is put in front of a file can use the file's tables
as they are: only the new front is written, and no byte behind it changes.
"""

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...record import record

ALIGNMENT = 64
MAX_BYTES = 2**31 - 1
# TFLite wants the data of its buffers at multiples of 16.
_ARRAY_ALIGNMENT = 16


@record()
class Kept:
    """What lies in the file behind the new front.

    Args:
        at: Where in that file.
    """

    at: int


Value: TypeAlias = "np.generic | str | NDArray[Any] | Sequence[Table | Kept] | Table | Kept"


@record(eq=False)
class Table:
    """A table.

    Args:
        fields: Value of each slot. A numpy scalar of at most 4 bytes stands in the table itself; text, an array (a list
            of its numbers), a list of tables, and a table are pointed to.
    """

    fields: Mapping[int, Value]


def write_flatbuffer(root: Table, identifier: bytes, behind: bytes = b"") -> bytes:
    """Write a flatbuffer.

    Args:
        root: Its first table.
        identifier: The four bytes that name its schema.
        behind: The file that `Kept` places lie in; the result ends with it.

    Returns:
        The file. What was at a multiple of 64 in `behind` still is.

    Raises:
        ValueError: If it would be larger than a flatbuffer can be.
    """
    out = bytearray(4) + identifier
    kept: list[tuple[int, int]] = []
    waiting: deque[tuple[int, Value]] = deque([(0, root)])
    while waiting:
        place, value = waiting.popleft()
        if isinstance(value, Kept):
            kept.append((place, value.at))
            continue
        start = _put(out, value, waiting)
        struct.pack_into("<I", out, place, start - place)
    _pad(out, ALIGNMENT)
    if len(out) + len(behind) > MAX_BYTES:
        raise ValueError(f"{len(out) + len(behind):,} bytes")
    for place, at in kept:
        struct.pack_into("<I", out, place, len(out) + at - place)
    return b"".join((out, behind))


def _put(out: bytearray, value: Value, waiting: deque[tuple[int, Value]]) -> int:
    """Write a value but for what it points to, and return where it begins."""
    _pad(out, 4)
    start = len(out)
    if isinstance(value, Table):
        return _put_table(out, value, waiting)
    if isinstance(value, str):
        content = value.encode()
        out += struct.pack("<I", len(content)) + content + b"\0"
    elif isinstance(value, np.ndarray):
        _pad(out, _ARRAY_ALIGNMENT, 4)
        start = len(out)
        out += struct.pack("<I", value.size)
        out += np.ascontiguousarray(value, value.dtype.newbyteorder("<")).data.cast("B") if value.size else b""
    elif isinstance(value, Sequence):
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        waiting.extend((start + 4 + 4 * i, item) for i, item in enumerate(value))
    else:
        raise TypeError(f"no place in a flatbuffer for {type(value).__name__}")
    return start


def _put_table(out: bytearray, table: Table, waiting: deque[tuple[int, Value]]) -> int:
    slots = sorted(table.fields)
    offsets = dict(zip(slots, range(4, 4 + 4 * len(slots), 4), strict=True))
    layout = [offsets.get(slot, 0) for slot in range(slots[-1] + 1 if slots else 0)]
    head = len(out)
    out += struct.pack(f"<{2 + len(layout)}H", 4 + 2 * len(layout), 4 + 4 * len(slots), *layout)
    _pad(out, 4)
    start = len(out)
    out += struct.pack("<i", start - head)
    for slot in slots:
        value = table.fields[slot]
        if isinstance(value, np.generic):
            out += value.astype(value.dtype.newbyteorder("<")).tobytes().ljust(4, b"\0")
        else:
            waiting.append((len(out), value))
            out += bytes(4)
    return start


def _pad(out: bytearray, alignment: int, before: int = 0) -> None:
    out += bytes(-(len(out) + before) % alignment)
