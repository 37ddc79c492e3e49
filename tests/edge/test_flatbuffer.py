"""Flatbuffers are written as the schema's own reader reads them, and read without leaving their bytes."""

import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.edge.export.flatbuffer_writer import Kept, Table, write_flatbuffer
from acclimate.edge.export.tflite_labels import describe_labels
from acclimate.edge.runtime.flatbuffer import check_table, entries, field, follow, numbers, scalar, tables, target

HOSTILE = r"(outside of itself|in the middle of a number or a list|goes on behind its end)"


def text(view: memoryview, at: int | None) -> str:
    """Return the text at a place."""
    assert at is not None
    (length,) = struct.unpack_from("<I", view, at)
    return bytes(view[at + 4 : at + 4 + length]).decode()


def test_what_is_written_is_read() -> None:
    """Scalars of several types, text, arrays, lists of tables, a table, and fields that are left out."""
    inner = [Table({0: np.int32(-i)}) for i in range(3)]
    root = Table(
        {0: np.int8(-3), 2: "größer", 3: np.arange(5, dtype=np.int64), 4: inner, 6: Table({}), 7: np.uint32(7)}
    )
    view = memoryview(write_flatbuffer(root, b"TEST"))
    at = follow(view, 0)
    assert bytes(view[4:8]) == b"TEST"
    assert (scalar(view, at, 0, "<b", 9), scalar(view, at, 1, "<i", 9), scalar(view, at, 7, "<I", 9)) == (-3, 9, 7)
    assert text(view, target(view, at, 2)) == "größer"
    assert numbers(view, at, 3, "q") == (0, 1, 2, 3, 4)
    assert [scalar(view, table, 0, "<i", 0) for table in tables(view, at, 4)] == [0, -1, -2]
    empty = target(view, at, 6)
    assert empty is not None
    assert (field(view, empty, 0), field(view, at, 5), field(view, at, 100)) == (None, None, None)


def test_arrays_are_aligned() -> None:
    """Their first number is at a multiple of 16, whatever lies in front of them."""
    for length in range(20):
        root = Table({0: "x" * length, 1: np.arange(3, dtype=np.uint8)})
        view = memoryview(write_flatbuffer(root, b"TEST"))
        assert entries(view, follow(view, 0), 1).start % 16 == 0


def test_a_new_front_uses_what_lies_behind() -> None:
    """Tables of a file are in a list of the new one; no byte of the file changes, and its alignment stays."""
    old = write_flatbuffer(Table({0: [Table({0: np.int32(4), 1: "kept"}), Table({0: np.int32(5)})]}), b"ABCD")
    places = list(tables(memoryview(old), follow(memoryview(old), 0), 0))
    new = write_flatbuffer(Table({3: [Table({0: np.int32(6)}), *map(Kept, places)]}), b"EFGH", old)
    assert new.endswith(old)
    assert (len(new) - len(old)) % 64 == 0
    view = memoryview(new)
    found = list(tables(view, follow(view, 0), 3))
    assert [scalar(view, table, 0, "<i", 0) for table in found] == [6, 4, 5]
    assert text(view, target(view, found[1], 1)) == "kept"


def test_a_file_that_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets have 31 bits."""
    monkeypatch.setattr("acclimate.edge.export.flatbuffer_writer.MAX_BYTES", 1000)
    write_flatbuffer(Table({}), b"TEST", bytes(900))
    with pytest.raises(ValueError, match="1,064 bytes"):
        write_flatbuffer(Table({}), b"TEST", bytes(1000))


def test_what_has_no_place() -> None:
    """A Python number says nothing of its size, so it is refused."""
    with pytest.raises(TypeError, match="no place in a flatbuffer for int"):
        write_flatbuffer(Table({0: 5}), b"TEST")  # type: ignore[dict-item]  # that is the mistake


def test_places_in_front_of_the_beginning() -> None:
    """They do not count from the end."""
    view = memoryview(struct.pack("<4i", 0, 0, 100, 1) + bytes(200))
    with pytest.raises(ValueError, match="it points outside of itself"):
        field(view, 8, 0)
    with pytest.raises(ValueError, match="it points outside of itself"):
        check_table(view, 8)


@pytest.mark.parametrize("fields", [(3, 8), (4, 300), (6, 8, 8), (6, 8, 3)])
def test_tables_that_cannot_be(fields: tuple[int, ...]) -> None:
    """A list of fields that is too short, a table behind the end, and fields outside of their table."""
    content = struct.pack(f"<{len(fields)}H", *fields).ljust(8, b"\0") + struct.pack("<ii", 8, 0) + bytes(100)
    with pytest.raises(ValueError, match="a table goes on behind its end"):
        check_table(memoryview(content), 8)
    check_table(memoryview(struct.pack("<4Hii", 6, 8, 4, 0, 8, 0)), 8)


@given(st.data())
def test_no_read_leaves_the_bytes(data: st.DataObject) -> None:
    """Damaged and random files give values or a ValueError, never another error, and never bytes of elsewhere."""
    sound = describe_labels("input", "output")
    start = data.draw(st.integers(0, len(sound)))
    other = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, b"\0\0\0\x80"])))
    content = data.draw(st.sampled_from([sound[:start] + other + sound[start + len(other) :], sound[:start], other]))
    view = memoryview(content)
    try:
        root = follow(view, 0)
        for slot in range(9):
            scalar(view, root, slot, "<Q", 0)
            numbers(view, root, slot, "i")
            for table in tables(view, root, slot):
                scalar(view, table, slot, "<b", 0)
                entries(view, table, slot)
    except ValueError as error:
        if not re.search(HOSTILE, str(error)):
            raise
