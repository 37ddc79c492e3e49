"""A store that is restored from a copy while a log lies beside it: the copy is left alone until the log is gone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store.database import stored_binding
from acclimate.edge.store.leftover import check_log, marks_in
from acclimate.edge.store.store import Store
from acclimate.errors import StoreMismatchError

from .stores import CLASSES, WIDTH, content, fill, read_elsewhere

REFUSED = r"device\.db: expected the log of this file beside it, found that device\.db-wal is another file's"
# A process that works on a store and ends without closing it.
KILLED = """
import os, sys
from pathlib import Path
from tests.edge.stores import CLASSES, WIDTH, fill
from acclimate.edge.store.store import Store
store = Store(Path(sys.argv[1]), "f" * 64, WIDTH, CLASSES)
for seed in range(int(sys.argv[2])):
    fill(store, 20, 100 + seed)
os._exit(0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store lies: in a folder of its own."""
    (tmp_path / "device").mkdir()
    return tmp_path / "device" / "device.db"


def opened(path: Path) -> Store:
    return Store(path, "f" * 64, WIDTH, CLASSES)


def work_and_die(path: Path, calls: int) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(calls)], check=True, cwd=Path(__file__).parents[2], timeout=120
    )
    assert path.with_name("device.db-wal").stat().st_size


def copied(path: Path, to: str) -> Path:
    """Copy the file, and the file alone, by another process: closing it here would drop SQLite's locks."""
    copy = path.parent.with_name(to)
    copy.write_bytes(read_elsewhere(path))
    return copy


@pytest.mark.parametrize("calls", [1, 3, 60])
def test_a_log_that_is_left_over_does_not_ruin_a_restored_copy(path: Path, calls: int) -> None:
    """Refused with what to do, while the copy is still whole, by every way to open it; then it is what it was."""
    with opened(path) as store:
        fill(store)
    copy = copied(path, "copy.db")
    with opened(path) as store:
        fill(store, 5, 1)
    work_and_die(path, calls)
    shutil.copy(copy, path)
    for attempt in (lambda: opened(path).close(), lambda: stored_binding(path), lambda: check_log(path)):
        with pytest.raises(StoreMismatchError, match=REFUSED) as said:
            attempt()
        assert "delete device.db-wal and device.db-shm" in str(said.value)
        assert path.read_bytes() == copy.read_bytes()
    for name in ("device.db-wal", "device.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    with opened(path) as store:
        assert store.count() == (10, 7)
        assert len(store.samples(store.ids()).ids) == 10


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody replace a file that is open")
def test_another_store_in_the_place_of_an_open_one_is_left_alone(path: Path) -> None:
    """A file that was put in the place of one in use is not written over by the log of that one."""
    other = path.with_name("other.db")
    with opened(other) as store:
        fill(store, 10, 5)
    before = other.read_bytes()
    with opened(path) as store:
        fill(store)
        os.replace(other, path)
        with pytest.raises(StoreMismatchError, match=REFUSED):
            opened(path)
    with pytest.raises(StoreMismatchError, match=REFUSED):
        opened(path)
    assert path.read_bytes() == before
    path.with_name("device.db-wal").unlink()
    with opened(path) as store:
        assert store.count() == (10, 7)


@pytest.mark.parametrize("calls", [1, 3, 60])
@pytest.mark.parametrize("new", [True, False])
def test_a_log_of_its_own_is_taken(path: Path, calls: int, new: bool) -> None:
    """After a kill everything is there: in a store that never was closed, and in one that was."""
    if not new:
        with opened(path) as store:
            fill(store, 20, 99)
    work_and_die(path, calls)
    with opened(path) as store:
        assert store.count()[0] == 20 * calls + 20 * (not new)
        assert len(store.samples(store.ids()).ids) == store.count()[0]


def test_a_log_that_is_half_copied_is_taken(path: Path) -> None:
    """A checkpoint that a reader cuts short leaves some of the log in the file: that log is its own still."""
    with opened(path) as store, opened(path) as other:
        fill(store)
        with other.reading():
            other.count()
            fill(store, 10, 1)
            assert not store.connection.checkpoint(0.0)
            fill(store, 10, 2)
            for name in ("device.db", "device.db-wal"):
                (path.parent.parent / name).write_bytes(read_elsewhere(path.with_name(name)))
    with opened(path.parent.parent / "device.db") as store:
        assert store.count()[0] == 30
        assert len(store.samples(store.ids()).ids) == 30


def test_every_change_is_marked_and_a_look_is_not(path: Path) -> None:
    """Each transaction that changes something writes the mark of the one before it and its own."""
    with opened(path) as store:
        fill(store)
        before = content(path)
        with store.transaction():
            store.classes()
        assert content(path) == before
        found = [store.connection.setting("wal_mark")]
        for seed in range(3):
            fill(store, 1, 5 + seed)
            found.append(store.connection.setting("wal_mark"))
        pairs = [bytes(mark) for mark in found if isinstance(mark, bytes)]
        assert [later[:16] for later in pairs[1:]] == [earlier[16:] for earlier in pairs[:-1]]
        assert len({pair[16:] for pair in pairs}) == 4
        known = marks_in(read_elsewhere(path.with_name("device.db-wal")))
        assert {pair[16:] for pair in pairs} <= known


@pytest.mark.parametrize("seed", range(20))
def test_any_log_is_read(seed: int) -> None:
    """Noise, cuts and headers with nonsense in the place of a log raise nothing."""
    rng = np.random.default_rng(seed)
    log = b"\x37\x7f\x06\x82" + rng.bytes(4) + int(rng.choice([0, 1, 4096, 2**32 - 1])).to_bytes(4, "big")
    assert marks_in((log + rng.bytes(20_000))[: int(rng.integers(20_000))]) == set()
