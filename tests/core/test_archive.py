"""The container: its bytes follow from its members alone, and it appears whole or not at all."""

import os
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from acclimate.archive import ALIGNMENT, MAX_BYTES, MAX_MEMBERS, Archive, write_archive
from acclimate.errors import BundleFormatError, BundleIntegrityError, OutputExistsError

MEMBERS = {"manifest.json": b"{}", "onnx/empty.bin": b"", "onnx/backbone.onnx": bytes(range(256)) * 5}


@pytest.fixture
def expected(zips: ModuleType) -> bytes:
    """The container of `MEMBERS`, written by an independent writer."""
    return bytes(zips.build([zips.Member(name, content) for name, content in MEMBERS.items()]))


def test_every_byte_is_the_one_that_the_page_says(tmp_path: Path, expected: bytes) -> None:
    """The writer gives what an independent writer gives, whatever the time and the folder."""
    write_archive(tmp_path / "a.acc", MEMBERS)
    assert (tmp_path / "a.acc").read_bytes() == expected


def test_members_come_back_in_order(tmp_path: Path) -> None:
    """What was written is read, empty members too."""
    write_archive(tmp_path / "a.acc", MEMBERS)
    with Archive(tmp_path / "a.acc") as archive:
        assert list(archive.sizes.items()) == [(name, len(content)) for name, content in MEMBERS.items()]
        assert {name: archive.read(name) for name in archive.sizes} == MEMBERS
        with pytest.raises(BundleFormatError, match=r"expected a member 'tail', found \['manifest.json', 'onnx/ba"):
            archive.read("tail")


def test_it_is_a_zip_file_to_others(tmp_path: Path) -> None:
    """Python's own ZIP reader finds no fault and the same contents, which begin at multiples of 64."""
    write_archive(tmp_path / "a.acc", MEMBERS)
    content = (tmp_path / "a.acc").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.acc") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            start = info.header_offset + 30 + len(info.filename) + len(info.extra)
            assert start % ALIGNMENT == 0
            assert content[start : start + info.file_size] == MEMBERS[info.filename]


def test_an_existing_file_stays_unless_said_otherwise(tmp_path: Path, expected: bytes) -> None:
    """Nothing is overwritten by default; with `overwrite` the new content is there, and nothing else."""
    target = tmp_path / "a.acc"
    target.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"a\.acc is there already.*may be overwritten"):
        write_archive(target, MEMBERS)
    assert target.read_bytes() == b"precious"
    write_archive(target, MEMBERS, overwrite=True)
    assert target.read_bytes() == expected
    assert os.listdir(tmp_path) == ["a.acc"]


def test_a_failed_check_leaves_what_was_there(tmp_path: Path, expected: bytes) -> None:
    """The check sees the complete file under its own name; when it fails, neither file nor part file is left."""
    target = tmp_path / "a.acc"
    target.write_bytes(b"precious")
    seen: list[tuple[str, bytes]] = []

    def check(path: Path) -> None:
        seen.append((path.name, path.read_bytes()))
        raise BundleFormatError("no good")

    with pytest.raises(BundleFormatError, match="no good"):
        write_archive(target, MEMBERS, overwrite=True, check=check)
    assert seen == [("a.acc", expected)]
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["a.acc"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A disk that is full, at either of the last two steps, leaves the folder as it was."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_archive(tmp_path / "a.acc", MEMBERS)
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Another program that writes the same name while the check runs keeps its file."""
    target = tmp_path / "a.acc"

    def meanwhile(_: Path) -> None:
        target.write_bytes(b"another program's")

    with pytest.raises(OutputExistsError):
        write_archive(target, MEMBERS, check=meanwhile)
    assert target.read_bytes() == b"another program's"


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "..", ".", "../a", "/etc/passwd", "a/../b", "a//b", "a/", "./a", "a\\b", "C:/a", "a\0", "a\n"),
        *("A", "ä", "a b", "-a", "a.", ".a", "a" * 101),
    ],
)
def test_the_writer_refuses_other_names(tmp_path: Path, name: str) -> None:
    """Names that leave the archive, or that systems read differently, are never written."""
    with pytest.raises(BundleFormatError, match=r"expected a member name like 'onnx/backbone\.onnx', found"):
        write_archive(tmp_path / "a.acc", {"manifest.json": b"", name: b""})
    assert os.listdir(tmp_path) == []


def test_the_writer_counts(tmp_path: Path) -> None:
    """No member, too many, or more than 2 GiB together are refused before anything is written."""

    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_BYTES

    for members in ({}, {f"m{i}": b"" for i in range(MAX_MEMBERS + 1)}, {"a": Huge()}):
        with pytest.raises(BundleFormatError, match="expected 1 to 64 members below 2 GiB, found"):
            write_archive(tmp_path / "a.acc", members)
    write_archive(tmp_path / "most.acc", {f"m{i}": b"" for i in range(MAX_MEMBERS)})
    assert os.listdir(tmp_path) == ["most.acc"]


def test_a_damaged_content_is_found_when_it_is_read(tmp_path: Path) -> None:
    """The checksum of the directory speaks for contents that no manifest vouches for."""
    target = tmp_path / "a.acc"
    write_archive(target, MEMBERS)
    target.write_bytes(target.read_bytes().replace(b"{}", b"[]"))
    with Archive(target) as archive:
        assert archive.read("onnx/backbone.onnx") == MEMBERS["onnx/backbone.onnx"]
        with pytest.raises(BundleIntegrityError, match=r"expected 'manifest.json' with CRC-32 \w+, found \w+\."):
            archive.read("manifest.json")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A missing file is Python's own error; a folder, an empty file and one beyond 2 GiB are ours."""
    with pytest.raises(FileNotFoundError):
        Archive(tmp_path / "none.acc")
    with pytest.raises(BundleFormatError, match="expected a file, found something else"):
        Archive(tmp_path)
    (tmp_path / "empty.acc").touch()
    with pytest.raises(BundleFormatError, match="expected a file of 22 bytes to 2 GiB, found 0 bytes"):
        Archive(tmp_path / "empty.acc")
    with (tmp_path / "big.acc").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(BundleFormatError, match="found 2,147,483,648 bytes"):
        Archive(tmp_path / "big.acc")


def test_a_file_that_is_cut_short_while_it_is_open_is_damaged_not_deadly(tmp_path: Path) -> None:
    """Where another program shortens the file in place, reading is our error: a mapped file would end the process."""
    target = tmp_path / "open.acc"
    write_archive(target, {"manifest.json": b"{}", "onnx/backbone.onnx": bytes(100_000)})
    with Archive(target) as archive:
        os.truncate(target, 50_000)
        with pytest.raises(BundleIntegrityError, match=r"expected 'onnx/backbone.onnx' with CRC-32 .*, found"):
            archive.read("onnx/backbone.onnx")
