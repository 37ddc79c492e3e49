"""Containers that lie: each is refused before a content is used, with what was expected, found, and what to do."""

import struct
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from acclimate.archive import Archive
from acclimate.errors import BundleFormatError

ZIP64_SIZES = struct.pack("<HHQQ", 1, 16, 7, 7)
ZIP64_OFFSET = struct.pack("<HHQ", 1, 8, 0)
# The end of a ZIP64 directory with its locator, which other readers believe.
ZIP64_END = struct.pack("<IQHHIIQQQQIIQI", 0x06064B50, 44, 45, 45, 0, 0, 2, 2, 1, 1, 0x07064B50, 0, 1, 1)
INFO_ZIP_UNICODE_NAME = struct.pack("<HHBI", 0x7075, 9, 1, 0) + b"evil"


def refused(path: Path, content: bytes, match: str) -> None:
    """Check that a file is refused with a message that also says what to do."""
    path.write_bytes(content)
    with pytest.raises(BundleFormatError, match=rf"{path.name} is not a readable bundle: {match}.*Get the file again"):
        Archive(path).close()


def test_the_builder_of_these_tests_can_be_right(tmp_path: Path, zips: ModuleType) -> None:
    """Without a lie the same builder's file opens, so each refusal below is for its lie."""
    (tmp_path / "a.acc").write_bytes(zips.build([zips.Member("a"), zips.Member("onnx/b.c")]))
    with Archive(tmp_path / "a.acc") as archive:
        assert archive.read("onnx/b.c") == b"content"


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "a/../../evil", "/etc/passwd", "a\\..\\evil", "C:\\evil", "c:evil", "a//b", "./a", "a/", "..", ""),
        *("Manifest.json", "a\0.json", "a\n", "ünï", "a" * 101, "\udcff\udcfe"),
    ],
)
def test_names_that_leave_the_archive(tmp_path: Path, zips: ModuleType, name: str) -> None:
    """Paths upwards, absolute ones, backslashes, drives, and names that systems read differently."""
    refused(tmp_path / "a.acc", zips.build([zips.Member("a"), zips.Member(name)]), "expected member names like")


def test_a_name_twice(tmp_path: Path, zips: ModuleType) -> None:
    """Two members of one name: readers would differ in which they take."""
    content = zips.build([zips.Member("a", b"good"), zips.Member("a", b"evil")])
    refused(tmp_path / "a.acc", content, "expected every member once, found 'a' twice")


@pytest.mark.parametrize("where", ["both", "local", "central"])
@pytest.mark.parametrize(
    "lie",
    [
        {"flags": 0x0001},  # encrypted
        {"flags": 0x0008},  # sizes follow behind the content
        {"flags": 0x0800},  # another alphabet for the name
        {"flags": 0x2000},  # headers are masked
        {"method": 8},
        {"method": 99},
        {"packed": 6},
        {"packed": 0xFFFFFFFF},
        {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "extra": ZIP64_SIZES},
        {"extra": ZIP64_SIZES},
        {"extra": b""},
        {"extra": INFO_ZIP_UNICODE_NAME},
        {"needed": 45},
        {"needed": 63},
        {"time": 1},
        {"date": 0x5C21},
    ],
)
def test_headers_that_do_not_follow_from_the_member(
    tmp_path: Path, zips: ModuleType, where: str, lie: dict[str, Any]
) -> None:
    """Encryption, compression, ZIP64 and whatever else another reader could take to mean something."""
    content = zips.build([zips.Member("a"), zips.Member("b", **{where: lie})])
    refused(tmp_path / "a.acc", content, "expected (the header of 'b' to repeat|'b' stored as it is|'b' at byte)")


@pytest.mark.parametrize("lie", [{"name": b"c"}, {"size": 6}, {"crc": 1}, {"packed": 6, "size": 6}])
@pytest.mark.parametrize("where", ["local", "central"])
def test_a_local_header_that_disagrees(tmp_path: Path, zips: ModuleType, where: str, lie: dict[str, Any]) -> None:
    """Name, sizes and checksum stand twice in a ZIP file; readers differ in which they believe."""
    content = zips.build([zips.Member("a"), zips.Member("b", **{where: lie})])
    refused(tmp_path / "a.acc", content, "expected ('[bc]'|the header of '[bc]'|nothing but 2)")


@pytest.mark.parametrize(
    "lie",
    [
        {"made": 0},
        {"comment": b"hello"},
        {"disk": 1},
        {"internal": 1},
        {"external": 0o120777 << 16},  # a symbolic link
        {"offset": 0xFFFFFFFF, "extra": ZIP64_OFFSET},
    ],
)
def test_a_directory_entry_with_more_to_say(tmp_path: Path, zips: ModuleType, lie: dict[str, Any]) -> None:
    """Comments, disks, links and offsets in another field."""
    refused(tmp_path / "a.acc", zips.build([zips.Member("a", central=lie)]), "expected 'a' stored as it is")


@pytest.mark.parametrize("offset", [0, 1, 70, 72, 2**31, 0xFFFFFFFF])
def test_members_that_overlap_or_lie_outside(tmp_path: Path, zips: ModuleType, offset: int) -> None:
    """A member inside another one, as quoted ZIP bombs have it, and one behind the end."""
    padding = -(offset + 30 + 1 + 4) % 64
    extra = struct.pack("<HH", zips.PADDING_ID, padding) + bytes(padding)
    content = zips.build([zips.Member("a", bytes(500)), zips.Member("b", central={"offset": offset, "extra": extra})])
    refused(tmp_path / "a.acc", content, r"expected 'b' at byte 564 and before byte [\d,]+, found 7 bytes at byte ")


@pytest.mark.parametrize("size", [8, 1000, 2**31, 0xFFFFFFFF])
def test_a_size_beyond_the_file(tmp_path: Path, zips: ModuleType, size: int) -> None:
    """A size that reaches into the directory or behind the end, the same in both headers."""
    content = zips.build([zips.Member("a", both={"packed": size, "size": size})])
    refused(tmp_path / "a.acc", content, r"expected 'a' at byte 0 and before byte [\d,]+, found [\d,]+ bytes at byte 0")


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"count": 0}, "expected 1 to 64 members, found 0"),
        ({"count": 65}, "expected 1 to 64 members, found 65"),
        ({"count": 0xFFFF, "here": 0xFFFF}, "expected 1 to 64 members, found 65535"),
        ({"count": 1, "here": 1}, "expected nothing but 1 members"),
        ({"count": 3, "here": 3}, "expected as many members in the directory as it says, found fewer"),
        ({"here": 1}, "expected one ZIP directory"),
        ({"disk": 1}, "expected one ZIP directory"),
        ({"first_disk": 1}, "expected one ZIP directory"),
        ({"size": 0}, "expected one ZIP directory"),
        ({"size": 0xFFFFFFFF}, "expected one ZIP directory"),
        ({"at": 0}, "expected one ZIP directory"),
        ({"at": 0xFFFFFFFF}, "expected one ZIP directory"),
        ({"front": bytes(1)}, "expected one ZIP directory"),
        ({"front": ZIP64_END}, "expected one ZIP directory"),
        ({"comment": b"a comment"}, "expected a ZIP directory at its end, found none"),
        ({"comment": bytes(22)}, "expected a ZIP directory at its end, found none"),
    ],
)
def test_an_end_that_lies(tmp_path: Path, zips: ModuleType, lie: dict[str, Any], match: str) -> None:
    """Counts, disks, places, comments, ZIP64."""
    refused(tmp_path / "a.acc", zips.build([zips.Member("a"), zips.Member("b")], end=lie), match)


@pytest.mark.parametrize("hidden", [b"\0", b"#!/bin/sh\n", b"PK\x03\x04" + bytes(26)])
def test_bytes_that_belong_to_no_member(tmp_path: Path, zips: ModuleType, hidden: bytes) -> None:
    """In front, between, before the directory and at the end: a bundle is nothing else at the same time."""
    right = [zips.Member("a"), zips.Member("b")]
    refused(tmp_path / "a.acc", hidden + zips.build(right), "expected")
    refused(tmp_path / "a.acc", zips.build([zips.Member("a", gap=hidden)]), "expected 'a' at byte 0")
    refused(tmp_path / "a.acc", zips.build([zips.Member("a"), zips.Member("b", gap=hidden)]), "expected 'b' at byte")
    refused(tmp_path / "a.acc", zips.build(right, behind=hidden), "expected nothing but 2 members")
    refused(tmp_path / "a.acc", zips.build(right) + hidden, "expected")


def test_too_many_members(tmp_path: Path, zips: ModuleType) -> None:
    """The directory is not even read when it says that it holds more than the format allows."""
    content = zips.build([zips.Member(f"m{i}", b"") for i in range(65)])
    refused(tmp_path / "a.acc", content, "expected 1 to 64 members, found 65")


def test_a_zip_bomb(tmp_path: Path) -> None:
    """Ten million bytes in ten thousand: compressed members are refused without unpacking them."""
    path = tmp_path / "bomb.acc"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(10_000_000))
    refused(path, path.read_bytes(), r"expected 'manifest.json' stored .* found method 8, .*\d+ bytes for 10,000,000")


def test_a_bundle_that_another_program_packed(tmp_path: Path) -> None:
    """Stored by Python's own ZIP writer it is still not a bundle, and the message says why."""
    path = tmp_path / "repacked.acc"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", b"{}")
    refused(path, path.read_bytes(), "expected 'manifest.json' stored as it is")
    with pytest.raises(BundleFormatError, match="packed again with another program is not one any more"):
        Archive(path)
