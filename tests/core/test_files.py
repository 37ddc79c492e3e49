"""A file appears under its name complete, or not at all."""

import os
from pathlib import Path

import pytest

from acclimate.errors import OutputExistsError
from acclimate.files import new_file, write_file


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    """The content, readable for whom the process's mask lets, and no part file."""
    write_file(tmp_path / "a.onnx", b"content")
    assert (tmp_path / "a.onnx").read_bytes() == b"content"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert (tmp_path / "a.onnx").stat().st_mode == plain.stat().st_mode
    plain.unlink()
    assert os.listdir(tmp_path) == ["a.onnx"]


def test_an_existing_file_stays_unless_said_otherwise(tmp_path: Path) -> None:
    """Nothing is overwritten by default; with `overwrite` the new content is there."""
    target = tmp_path / "a.onnx"
    target.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"a\.onnx is there already.*may be overwritten"):
        write_file(str(target), b"new")
    assert target.read_bytes() == b"precious"
    write_file(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, overwrite: bool) -> None:
    """Whatever the block has written by then is gone with it."""
    target = tmp_path / "a.onnx"
    if overwrite:
        target.write_bytes(b"precious")

    def fail_half_way() -> None:
        with new_file(target, overwrite=overwrite) as part:
            part.write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"] * overwrite


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """The old content stays when one of the last two steps fails; so the content is synced before it gets its name."""
    target = tmp_path / "a.onnx"
    target.write_bytes(b"precious")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            write_file(target, b"new", overwrite=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Another program that writes the same name in the meantime keeps its file."""
    target = tmp_path / "a.onnx"

    def write_twice() -> None:
        with new_file(target) as part:
            part.write_bytes(b"ours")
            target.write_bytes(b"another program's")

    with pytest.raises(OutputExistsError):
        write_twice()
    assert target.read_bytes() == b"another program's"


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse to sync a folder; the file is there all the same."""
    real, calls = os.fsync, list[bool]()

    def only_files(handle: int) -> None:
        calls.append(os.path.isdir(f"/proc/self/fd/{handle}"))
        if calls[-1]:
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    write_file(tmp_path / "a.onnx", b"content")
    assert (tmp_path / "a.onnx").read_bytes() == b"content"
    if os.path.isdir("/proc/self/fd"):
        assert calls == [False, True]
