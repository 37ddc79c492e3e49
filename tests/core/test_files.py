"""A file appears under its name complete, or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
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


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    """The system's error names no file where a write fails: the one that was asked for is named, not its part."""

    def fail() -> None:
        with new_file(tmp_path / "a.onnx"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "a.onnx")


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


WRITER = """
import os, signal, sys
from acclimate.files import new_file
with new_file(sys.argv[1], overwrite=True) as part:
    part.write_bytes(b"half")
    print("ready", flush=True)
    if sys.argv[2] == "wait":
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
    part.write_bytes(b"whole")
"""
POSIX = pytest.mark.skipif(os.name != "posix", reason="folders are held by a lock that Windows does not have")


def writer(target: Path, then: str) -> "subprocess.Popen[str]":
    """Start a process that writes half of a file, and wait until it has."""
    command = [sys.executable, "-c", WRITER, str(target), then]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def parts(folder: Path) -> list[str]:
    """Return the names of the folders that hold what is being written."""
    return [name for name in os.listdir(folder) if name.endswith(".part")]


@POSIX
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """The next write of the same file cleans up after all that died, and of no other file."""
    living = [writer(tmp_path / name, "wait") for name in ("a.onnx", "a.onnx", "other.onnx")]
    for process in living:
        process.kill()
        process.communicate()
    with writer(tmp_path / "b.onnx", "die") as process:
        assert process.wait() == -signal.SIGKILL
    assert sorted(name[:-14] for name in parts(tmp_path)) == [".a.onnx", ".a.onnx", ".b.onnx", ".other.onnx"]
    write_file(tmp_path / "b.onnx", b"content")
    (tmp_path / "b.onnx").unlink()
    write_file(tmp_path / "a.onnx", b"content")
    assert [name[:12] for name in parts(tmp_path)] == [".other.onnx."]
    write_file(tmp_path / "other.onnx", b"content")
    assert sorted(os.listdir(tmp_path)) == ["a.onnx", "other.onnx"]


@POSIX
def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    """Another process, and another thread of this one, end what they began, whoever writes meanwhile."""
    target = tmp_path / "a.onnx"
    begun, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with new_file(target, overwrite=True) as part:
            part.write_bytes(b"a thread's")
            begun.set()
            assert go_on.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(20)
    with writer(target, "wait") as process:
        assert len(parts(tmp_path)) == 2
        write_file(target, b"ours", overwrite=True)
        assert (len(parts(tmp_path)), target.read_bytes()) == (2, b"ours")
        process.communicate("")
        assert (process.returncode, target.read_bytes()) == (0, b"whole")
    go_on.set()
    thread.join()
    assert (os.listdir(tmp_path), target.read_bytes()) == (["a.onnx"], b"a thread's")


def strange_content(folder: Path) -> None:
    (folder / ".a.onnx.abcdefgh.part").mkdir()
    (folder / ".a.onnx.abcdefgh.part" / "thesis.txt").write_text("mine")


def plain_file(folder: Path) -> None:
    (folder / ".a.onnx.abcdefgh.part").write_text("mine")


def link(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "a.onnx").write_text("mine")
    (folder / ".a.onnx.abcdefgh.part").symlink_to(folder / "mine")


def longer_name(folder: Path) -> None:
    (folder / ".a.onnx.data.abcdefgh.part").mkdir()
    (folder / ".axonnx.abcdefgh.part").mkdir()
    (folder / ".a.onnx.abcdefghi.part").mkdir()


@pytest.mark.parametrize("make", [strange_content, plain_file, link, longer_name])
def test_what_is_not_ours_stays(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A file, a link, a folder with something else in it, or with another name is nobody's left part."""
    make(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    write_file(tmp_path / "a.onnx", b"content")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == sorted([Path("a.onnx"), *before])


@POSIX
def test_a_folder_that_is_taken_before_it_is_held_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who cleans up between making and holding wins, and the file is written in another folder."""
    import fcntl

    real, taken = fcntl.flock, list[Path]()

    def take(handle: int, how: int) -> None:
        if len(taken) < 4:
            (folder,) = (tmp_path / name for name in parts(tmp_path))
            taken.append(folder)
            if len(taken) % 2:
                raise BlockingIOError
            shutil.rmtree(folder)
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", take)
    write_file(tmp_path / "a.onnx", b"content")
    assert len(set(taken)) == 4
    assert os.listdir(tmp_path) == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == b"content"


@POSIX
def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that knows no locks, or on Windows, files are written, and what others left is left."""
    import fcntl

    def fail(*_: object) -> None:
        raise OSError(37, "No locks available")

    (tmp_path / ".a.onnx.abcdefgh.part").mkdir()
    for lock in ("none", "no module"):
        with monkeypatch.context() as patched:
            if lock == "none":
                patched.setattr(fcntl, "flock", fail)
            else:
                patched.setitem(sys.modules, "fcntl", None)
            write_file(tmp_path / "a.onnx", b"content", overwrite=True)
        assert sorted(os.listdir(tmp_path)) == [".a.onnx.abcdefgh.part", "a.onnx"]
    write_file(tmp_path / "a.onnx", b"content", overwrite=True)
    assert os.listdir(tmp_path) == ["a.onnx"]


def test_nothing_but_a_file_is_ever_replaced(tmp_path: Path) -> None:
    """Neither a folder nor a device nor a pipe, whatever may be overwritten; what is there stays."""
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for target in (folder, pipe):
        with pytest.raises(OutputExistsError, match="expected the name of a file"):
            write_file(target, b"new", overwrite=True)
    assert folder.is_dir()
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [folder, pipe]
