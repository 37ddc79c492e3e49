"""Disks that take no more, and media that may not be written: in words or right, and the last good version serves."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acclimate.edge import Learner

from .faults.checking import check
from .faults.killing import KINDS, TYPICAL, prepare, settle
from .faults.life import Life
from .faults.model import outcomes
from .faults.operations import answers, frames, keys
from .faults.process import EndedError, Worker, worker

NOBODY = 65534
ORDER = {"kind": "observe", "seed": 5, "n": 40, "labels": frames(5, 40)[1], "tag": "visit"}


@pytest.fixture(scope="module")
def bare(tiny_bundle: Path) -> Iterator[Learner]:
    """Return a learner without a store."""
    with Learner.open(tiny_bundle, threads=1) as learner:
        yield learner


@pytest.fixture(scope="module")
def template(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with sixty samples and a version."""
    path = tmp_path_factory.mktemp("template") / "device.db"
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        learner.observe(*frames(900_001, 60), tags=["visit"] * 60, keys=keys(900_001, 60))
        assert learner.adapt(on_insufficient="apply").applied
    return path


def squeeze(life: Life, process: Worker, kind: str) -> str:
    """Do an operation while no file may grow beyond a size that was drawn: it is done, or refused whole."""
    start = {"kind": "create" if kind == "create" else "open"}
    order, size = start, life.rng.randint(1, 120_000)
    said = process.begin(life.bundle, life.store, **({"size": size} if kind == start["kind"] else {}))
    if "ready" in said:
        settle(life, start)
        if kind != start["kind"]:
            prepare(life, process, kind)
            order, log = life.plan(kind), life.store.with_name(f"{life.store.name}-wal")
            begun = 0 if kind in ("export", "save") or not log.exists() else log.stat().st_size
            said = process.ask(order | {"size": begun + life.rng.randint(0, TYPICAL[kind][2])})
        # Whatever came of it, the last good version serves.
        assert "done" in process.ask({"kind": "predict"})
        process.kill()
    else:
        with pytest.raises(EndedError):
            process.hear()
    # A file that the caller named is the operating system's to refuse; what a store has to say is ours.
    assert "error" not in said or said["ours"] or order["kind"] in ("export", "save"), said
    assert not said.get("alien"), said
    left = outcomes(life.state, order)
    check(life, order, [*left, *(state for before in left for state in outcomes(before, {"kind": "predict"}))])
    return "refused" if "error" in said else "done"


def squeezes(rounds: int, bare: Learner, bundle: Path, template: Path, folder: Path) -> None:
    """Squeeze each kind of operation some times."""
    seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
    with worker() as process:
        for i in range(rounds * len(KINDS)):
            kind = KINDS[i % len(KINDS)]
            life = Life(folder / str(i), bundle, bare, 400 + i, None if kind == "create" else template)
            try:
                seen[kind].add(squeeze(life, process, kind))
            except AssertionError as error:
                error.add_note(f"squeeze {i}, of {kind}")
                raise
    # A refit that is refused is put off, and the shipped head serves.
    spared = [kind for kind in KINDS if kind != "refit" and "refused" not in seen[kind]]
    assert len(spared) <= (8 if rounds == 1 else 0), spared


def test_files_that_cannot_grow(tiny_bundle: Path, bare: Learner, template: Path, tmp_path: Path) -> None:
    """Each operation meets a limit on the size of files: done, or refused in words and whole."""
    squeezes(1, bare, tiny_bundle, template, tmp_path)


@pytest.mark.slow
def test_files_that_cannot_grow_at_many_sizes(tiny_bundle: Path, bare: Learner, template: Path, tmp_path: Path) -> None:
    """The same at six limits each, of which each operation meets one that is too small."""
    squeezes(6, bare, tiny_bundle, template, tmp_path)


def mounted(folder: Path) -> list[str]:
    """Return a command that runs another one where a folder is a disk of 400 kB; skip where that is not allowed."""
    script = f"mount -t tmpfs -o size=400k tmpfs '{folder}' && exec \"$@\""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a small disk")
    return command


def test_a_disk_that_is_full(tiny_bundle: Path, tmp_path: Path) -> None:
    """On a disk without a free byte each change is refused in words, the head in use serves, room helps."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with worker(mounted(disk)) as process:
        assert "ready" in process.begin(tiny_bundle, disk / "device.db")
        process.do(ORDER)
        assert process.do({"kind": "adapt"})["applied"]
        told = process.do({"kind": "predict"})
        process.do({"kind": "fill", "path": str(disk / "filler")})
        # The log may have some room left; then it has none.
        said = [process.ask(ORDER | {"seed": seed}) for seed in range(100, 120)]
        assert "error" in said[-1]
        assert all("done" in line or (line["ours"] and "the disk is full" in line["message"]) for line in said), said
        assert process.do({"kind": "predict"}) == told
        for kind, name in (("export", "model.onnx"), ("save", "head.accu")):
            line = process.ask({"kind": kind, "path": str(disk / name)})
            assert "done" in line or "No space left on device" in line["message"], line
        changes = ({"kind": "adapt"}, {"kind": "rollback", "number": 0}, {"kind": "forget", "ids": [1]})
        for change in changes:
            line = process.ask(change)
            assert "done" in line or (line["ours"] and "the disk is full" in line["message"]), (change, line)
            assert "done" in process.ask({"kind": "predict"})
        process.end()
        # A device that starts again with its disk full predicts.
        assert "ready" in process.begin(tiny_bundle, disk / "device.db")
        assert "done" in process.ask({"kind": "predict"})
        process.do({"kind": "free", "path": str(disk / "filler")})
        process.do(ORDER | {"seed": 200})
        for change in changes:
            assert "done" in process.ask(change)
        process.end()


@pytest.fixture
def public(template: Path) -> Iterator[Path]:
    """Return a folder that everybody may read, with a copy of the store; temporary folders are their owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "media").mkdir()
        shutil.copy(template, folder / "media" / "device.db")
        yield folder
        (folder / "media").chmod(0o755)


def locked(folder: Path, what: str) -> dict[str, Any]:
    """Take away the right to write to the file or to the folder; return what makes a process a user without it."""
    if what == "file":
        (folder / "media" / "device.db").chmod(0o444)
    else:
        (folder / "media").chmod(0o555)
    if os.getuid() != 0:
        return {}
    return {"uid": NOBODY}


@pytest.mark.parametrize("what", ["file", "folder"])
def test_media_that_may_not_be_written(what: str, public: Path, bare: Learner, tiny_bundle: Path) -> None:
    """A user who may not write predicts with the version in use; changes are refused in words, and no file comes."""
    bundle, media = public / "tiny.acc", public / "media"
    shutil.copy(tiny_bundle, bundle)
    with Learner.open(bundle, media / "device.db", threads=1) as learner:
        told = answers(learner)
    before = (media / "device.db").read_bytes()
    with worker() as process:
        assert "ready" in process.begin(bundle, media / "device.db", **locked(public, what))
        assert process.do({"kind": "predict"}) == told
        for change in (ORDER, {"kind": "adapt"}, {"kind": "forget", "ids": [1]}, {"kind": "rollback", "number": 0}):
            said = process.ask(change)
            assert said.get("ours"), (change, said)
            assert "is read-only" in said["message"]
        for kind, name in (("export", "model.onnx"), ("save", "head.accu")):
            said = process.ask({"kind": kind, "path": str(media / name)})
            assert "done" in said or said["error"] == "PermissionError", said
        assert process.do({"kind": "predict"}) == told
        process.end()
    assert (media / "device.db").read_bytes() == before
    assert {file.name for file in media.iterdir()} <= {"device.db", "model.onnx", "head.accu"}


def test_a_log_that_a_kill_left_on_media_that_may_not_be_written(
    public: Path, bare: Learner, tiny_bundle: Path
) -> None:
    """What is in the log of a killed process is not passed over on media that cannot be written: right, or in words."""
    bundle, media = public / "tiny.acc", public / "media"
    shutil.copy(tiny_bundle, bundle)
    with worker() as process:
        assert "ready" in process.begin(bundle, media / "device.db")
        assert process.do({"kind": "rollback", "number": 0}) == 0
        told = process.do({"kind": "predict"})
        process.kill()
        assert (media / "device.db-wal").stat().st_size
        said = process.begin(bundle, media / "device.db", **locked(public, "folder"))
        if "ready" in said:
            assert process.do({"kind": "predict"}) == told
            process.end()
        else:
            assert said["ours"], said
            assert "device.db" in said["message"]
