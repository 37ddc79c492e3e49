"""Updates made to do harm: whatever is in them, they are refused with an error of ours, or they are sound."""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.errors import UpdateError, UpdateFormatError, UpdateVersionError
from acclimate.update import read_update, write_update

from .updates import BASE, D, head, packed, resealed


def patched(content: bytes, at: int, form: str, value: Any) -> bytes:
    """Return an update with other bytes at a place, and a checksum that fits."""
    new = value if form == "raw" else struct.pack("<" + form, value)
    return resealed(content[:at] + new + content[at + len(new) :])


def hostile() -> list[tuple[str, int, str, Any, str]]:
    """Return places in an update of ("a", "new") with a note of 1 byte, what to write there, and the message."""
    return [
        ("magic", 4, "raw", b"\n\n", "begins with"),
        ("signed 2", 10, "H", 2, "mark of a signature, found 2"),
        ("signed without", 10, "H", 1, "more bytes"),
        ("width 0", 12, "I", 0, "1 to 65,536 dimensions, found 0"),
        ("width absurd", 12, "I", 2**32 - 1, "1 to 65,536 dimensions, found 4,294,967,295"),
        ("width greater", 12, "I", 65_536, "more bytes"),
        ("width smaller", 12, "I", D - 1, "nothing behind the weights, found 2 bytes"),
        ("number 0", 16, "Q", 0, "as its number, found 0"),
        ("number beyond SQLite's", 16, "Q", 2**63, "as its number"),
        ("created in 10000", 24, "Q", 253_402_300_800, "as seconds since 1970"),
        ("shipped classes", 96, "H", 65_535, "0 to 10,000 shipped classes"),
        ("fewer shipped", 96, "H", 0, "expected"),
        ("new rows", 98, "H", 65_535, "0 to 10,000 new rows"),
        ("names below new rows", 100, "H", 0, "1 to 4 names, found 0"),
        ("names too many", 100, "H", 65_535, "1 to 4 names"),
        ("note beyond", 102, "H", 501, "0 to 500 bytes of note"),
        ("note not UTF-8", 104, "raw", b"\xff", "UTF-8"),
        ("note with a control", 104, "raw", b"\n", "printable note"),
        ("kept and changed", 106, "raw", b"\x01", "one that is both"),
        ("kept beyond the last", 105, "raw", b"\x09", "zeros behind the last row"),
        ("row of a name", 107, "H", 2, "names for rows below 2, in their order, found one for row 2"),
        ("name for a kept row", 107, "H", 0, "a name for each of 1 new rows, found a row without"),
        ("length of a name", 109, "H", 65_535, "more bytes"),
        ("empty name", 109, "H", 0, "expected"),
        ("name not UTF-8", 111, "raw", b"\xc3\x28", "UTF-8"),
        ("name with an escape", 111, "raw", b"\x1b", "printable class name"),
        ("exponent", 114, "b", 101, "exponents from -100 to 100"),
        ("exponent below", 114, "b", -128, "exponents from -100 to 100"),
        ("bias NaN", 115, "f", float("nan"), "finite parameters"),
        ("bias infinite", 115, "f", float("inf"), "finite parameters"),
        ("weight NaN", 119, "e", float("nan"), "finite parameters"),
        ("weight infinite", 119, "e", float("-inf"), "finite parameters"),
    ]


@pytest.mark.parametrize(("at", "form", "value", "message"), [h[1:] for h in hostile()], ids=[h[0] for h in hostile()])
def test_hostile_content_is_refused(tmp_path: Path, at: int, form: str, value: Any, message: str) -> None:
    """Each with a right checksum, and a message that says what was expected and found."""
    content = packed(tmp_path, head(("a", "new"), note="n"))
    with pytest.raises(UpdateFormatError, match=message):
        read_update(patched(content, at, form, value), BASE)


@pytest.mark.parametrize(("first", "second", "named"), [(1, 0, 0), (0, 0, 0), (1, 1, 1)])
def test_names_out_of_their_order(tmp_path: Path, first: int, second: int, named: int) -> None:
    """Two names that changed places, or are for one row, are refused: there is one way to write an update."""
    content = packed(tmp_path, head(("x", "y")))
    assert content[106:111] == struct.pack("<HH", 0, 1) + b"x"
    swapped = patched(patched(content, 106, "H", first), 111, "H", second)
    with pytest.raises(UpdateFormatError, match=f"names for rows below 2, in their order, found one for row {named}"):
        read_update(swapped, BASE)


def test_a_newer_format(tmp_path: Path) -> None:
    """It is told as such, whatever else is in the file, and before a signature is looked at."""
    content = packed(tmp_path, head(("a", "new")))
    with pytest.raises(UpdateVersionError, match=r"version 1, found 2\. Update Acclimate"):
        read_update(content[:8] + b"\2\0" + content[10:], BASE, trusted=[])


def test_kept_rows_of_a_head_that_is_not_there(tmp_path: Path) -> None:
    """A reference into a head that the bundle does not ship is refused, though its digest fits."""
    base = replace(BASE, head=None)
    content = packed(tmp_path, head(("a", "new")))
    forged = patched(content, 64, "raw", bytes.fromhex(base.digest))
    with pytest.raises(UpdateFormatError, match="no reference to a shipped head"):
        read_update(forged, base)


def test_a_file_of_absurd_size(tmp_path: Path) -> None:
    """It is refused after its bound is read, not after all of it."""
    path = tmp_path / "u.accu"
    path.write_bytes(packed(tmp_path, head(("a", "new"))))
    with path.open("r+b") as file:
        file.truncate(2**28 + 100)
    with pytest.raises(UpdateFormatError, match="to 268,435,456 bytes, found 268,435,457"):
        read_update(path, BASE)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.data())
def test_any_bytes_are_refused_or_sound(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes overwritten, taken out and put in, checksum made right: an error of ours, or a head that can be written."""
    folder = tmp_path_factory.mktemp("fuzz")
    content = packed(folder, head(("b", "new"), note="n"))[:-32]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 12)))
        content = content[:start] + data.draw(st.binary(max_size=12)) + content[stop:]
    content += hashlib.sha256(content).digest()
    base = replace(BASE, variant=content[32:64].hex(), classes=BASE.classes)
    try:
        found = read_update(content, base)
    except UpdateError as error:
        if "expected" in str(error) and "found" in str(error):
            return
        raise
    assert found.weight.shape == (len(found.classes), D)
    assert np.isfinite(found.weight).all()
    write_update(folder / "again.accu", found, base)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=400), st.booleans())
def test_noise_is_refused(noise: bytes, whole: bool) -> None:
    """Also noise behind a right header, with a right checksum."""
    header = b"ACCU\r\n\x1a\n" + struct.pack("<HH", 1, 0) if whole else b""
    content = header + noise
    with pytest.raises(UpdateError):
        read_update(content + hashlib.sha256(content).digest(), BASE)
