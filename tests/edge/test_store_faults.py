"""Faults of storage: killed at any moment, a full disk, a locked file. What `kill -9` cannot show is a power cut.

A killed process loses nothing that it has given to the operating system. That the disk has it too is what
`synchronous = FULL` is for, which `test_store_schema` checks.
"""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.edge.store.store import MIN_BYTES, Store
from acclimate.errors import StoreBusyError, StoreError

from .stores import CLASSES, content, sample, traces

WIDTH = 64

# Makes changes of every kind, says what it begins and what it has done, and goes on until it is killed.
LIFE = """
import random, sys
import numpy as np
from acclimate.edge.store.store import Store
path, seed, bound = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
store = Store(path, "f" * 64, 64, ("bark", "moss"), max_bytes=bound or None)
number = seed * 1_000_000
print("ready", flush=True)
while True:
    what = rng.choice(["add", "add", "erase", "erase", "version", "stage", "merge", "remove", "label"])
    ids = store.ids().tolist()
    chosen = sorted(rng.sample(ids, min(len(ids), 5)))
    names = store.classes()
    print("begin", what, *(chosen if what == "erase" else []), flush=True)
    if what == "add":
        rows = range(number, number + 20)
        number += 20
        codes = np.stack([np.random.default_rng(i).integers(0, 256, 64) for i in rows]).astype(np.uint8)
        label = rng.choice([None, *names])
        keys = [f"photo-{i:09d}" for i in rows]
        found = store.admit(codes, [label] * 20, [b"%016d" % i for i in rows], keys, [None] * 20)
        print("done", what, *found.ids.tolist(), flush=True)
        continue
    if what == "erase":
        store.erase(chosen)
    elif what == "version":
        store.add_version("{}", rng.randbytes(5000), samples=np.array(chosen))
    elif what == "stage":
        rows = range(number, number + 10)
        number += 10
        codes = np.stack([np.random.default_rng(i).integers(0, 256, 64) for i in rows]).astype(np.uint8)
        store.stage([b"%016d" % i for i in rows], codes)
    elif what == "merge":
        store.add_classes([f"class {rng.random()}"])
        store.merge_classes([max(store.classes())], min(store.classes()))
    elif what == "remove":
        store.add_classes([f"class {rng.random()}"])
        store.label(chosen, [max(store.classes())] * len(chosen))
        store.remove_class(max(store.classes()), forget=rng.random() < 0.5)
    else:
        store.label(chosen, [rng.choice(sorted(names))] * len(chosen))
    print("done", what, flush=True)
"""


def check(path: Path) -> Store:
    """Open a store that was left behind, and check that nothing in it contradicts itself."""
    store = Store(path, "f" * 64, WIDTH, CLASSES)
    db = store._db
    assert db.rows("PRAGMA integrity_check") == [("ok",)]
    taken = [
        *db.rows("SELECT slot FROM samples"),
        *db.rows("SELECT slot FROM staged"),
        *db.rows("SELECT slot FROM free"),
    ]
    assert sorted(taken) == db.rows("SELECT slot FROM latents ORDER BY slot")
    found = store.samples(store.ids())
    assert set(found.classes.tolist()) <= {-1, *store.classes()}
    # The key says from which random numbers the latent was made.
    for key, row in zip(store.keys_of(found.ids), found.codes, strict=True):
        assert key is not None
        assert row.tobytes() == np.random.default_rng(int(key[6:])).integers(0, 256, WIDTH).astype(np.uint8).tobytes()
    assert all(version.intact for version in store.versions())
    assert store.current in {0, *(version.id for version in store.versions())}
    assert (
        db.rows("SELECT codes FROM latents WHERE slot IN (SELECT slot FROM free) AND codes != zeroblob(?)", (68,)) == []
    )
    assert not store.erase_pending
    return store


def kill_once(folder: Path, seed: int, bound: int) -> None:
    """Let a process live on a store for a moment, kill it, and compare what is left with what it said."""
    path = folder / "device.db"
    before = set()
    if path.exists():
        with check(path) as store:
            before = set(store.ids().tolist())
    command = [sys.executable, "-c", LIFE, str(path), str(seed), str(bound)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(float(np.random.default_rng(seed).uniform(0.0, 0.25)))
    process.kill()
    # What was cut off in the middle of a line was not said.
    lines = [line.split() for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    alive, erased = set(before), set()
    for i, line in enumerate(lines):
        if line[:2] == ["done", "add"]:
            alive |= {int(word) for word in line[2:]} - {-1}
        elif line[:2] == ["begin", "erase"]:
            done = i + 1 < len(lines)
            erased |= {int(word) for word in line[2:]} if done else set()
            alive -= {int(word) for word in line[2:]}
    with check(path) as store:
        ids = set(store.ids().tolist())
        assert not ids & erased
        if not bound and not any(line[1] == "remove" for line in lines):
            assert alive <= ids
        keys = [b"photo-%09d" % int(key[6:]) for key in store.keys_of(sorted(ids)) if key]
    # Everything with a key of ours that is in the files belongs to a sample that is stored.
    data = b"".join(file.read_bytes() for file in folder.iterdir())
    assert {data[at : at + 15] for at in range(len(data)) if data.startswith(b"photo-", at)} <= set(keys)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("bound", [0, MIN_BYTES])
def test_killed_at_any_moment(tmp_path: Path, bound: int) -> None:
    """Ten times over, on one and the same store: whole transactions, no trace of what was erased, nothing pending."""
    for seed in range(10):
        kill_once(tmp_path, seed, bound)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("bound", [0, MIN_BYTES])
def test_killed_a_hundred_times(tmp_path: Path, bound: int) -> None:
    """The same a hundred times, with other moments."""
    for seed in range(100, 200):
        kill_once(tmp_path, seed, bound)


CUT_SHORT = """
import os, signal, sys
from acclimate.edge.store.connection import Connection
from acclimate.edge.store.store import Store
Connection.checkpoint = lambda self, timeout: os.kill(os.getpid(), signal.SIGKILL)
Store(sys.argv[1], "f" * 64, 64, ("bark", "moss")).erase([1, 2, 3])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_the_next_opening_finishes_an_erasure(tmp_path: Path) -> None:
    """Killed between the deletion and the cutting of the log, traces are there, and gone after opening."""
    with Store(tmp_path / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        codes = np.random.default_rng(0).integers(0, 256, (9, WIDTH)).astype(np.uint8)
        for i in range(9):
            sample(store, codes[i], i)
    process = subprocess.run([sys.executable, "-c", CUT_SHORT, str(tmp_path / "device.db")], check=False)
    assert process.returncode == -signal.SIGKILL
    keys = [b"photo-%07d" % i for i in range(3)]
    assert traces(tmp_path, codes[:3], *keys) != []
    with Store(tmp_path / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        assert not store.erase_pending
        assert store.ids().tolist() == [4, 5, 6, 7, 8, 9]
        assert traces(tmp_path, codes[:3], *keys) == []


def full(store: Store) -> None:
    """Let the file grow no further, as on a full disk."""
    store._db.run(f"PRAGMA max_page_count = {store._db.number('PRAGMA page_count')}")


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """What does not fit is refused whole, in words; what is there is served, and erasing makes room again."""
    path = tmp_path / "device.db"
    codes = np.random.default_rng(0).integers(0, 256, (400, WIDTH)).astype(np.uint8)
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        ids = [sample(store, codes[i], i, 0) for i in range(100)]
        store.add_version("{}", b"weights", samples=np.array(ids[:50]))
        full(store)
        before = content(path)
        digests = [b"%016d" % i for i in range(300)]
        for change in (
            lambda: store.add(codes[100:], [0] * 300, digests, [None] * 300, [None] * 300),
            lambda: store.add_version("{}", bytes(200_000)),
            lambda: store.stage(digests, codes[100:]),
        ):
            with pytest.raises(
                StoreError, match=r"device\.db: the disk is full\. Free some space; nothing was changed"
            ):
                change()
            assert content(path) == before
        assert store.labelled().codes.tobytes() == codes[:100].tobytes()
        assert store.version(store.current).head == b"weights"
        assert store.erase(ids[50:])
        assert traces(tmp_path, codes[50:100]) == []
        store.add(codes[100:140], [0] * 40, digests[:40], [None] * 40, [None] * 40)


def test_a_disk_that_is_full_at_the_checkpoint_leaves_it_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure that is committed is never reported as undone: if the log cannot be cut, it is pending."""
    with Store(tmp_path / "device.db", "f" * 64, WIDTH, CLASSES) as store:
        ids = [sample(store, np.full(WIDTH, i, np.uint8), i) for i in range(9)]
        real = store._db._connection

        class Full:
            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:
                if "wal_checkpoint" in statement:
                    raise sqlite3.OperationalError("database or disk is full")
                return real.execute(statement, *rest)

        monkeypatch.setattr(store._db, "_connection", Full())
        assert not store.erase(ids[:3])
        assert store.erase_pending
        monkeypatch.undo()
        assert store.erase([])


def test_a_locked_store_is_busy_and_unchanged(tmp_path: Path) -> None:
    """While another connection writes, every change says so within the timeout and changes nothing."""
    path = tmp_path / "device.db"
    codes = np.zeros((1, WIDTH), np.uint8)
    with Store(path, "f" * 64, WIDTH, CLASSES, timeout=0.1) as store, Store(path, "f" * 64, WIDTH, CLASSES) as other:
        sample(store, codes[0], 1)
        before = content(path)
        with other.transaction():
            for change in (
                lambda: store.add(codes, [0], [b"x"], [None], [None]),
                lambda: store.stage([b"x"], codes),
                lambda: store.erase([1]),
                lambda: store.remove_class(1, forget=True),
                lambda: store.merge_classes([1], 0),
                lambda: store.limit(MIN_BYTES),
                lambda: store.add_version("{}", b""),
            ):
                with pytest.raises(StoreBusyError, match="another process writing for over"):
                    change()
            assert store.count() == (1, 0)
        assert content(path) == before


def test_a_read_only_store_answers_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On media that cannot be written everything is read, and every change is refused; no file appears."""
    path = tmp_path / "device.db"
    with Store(path, "f" * 64, WIDTH, CLASSES) as store:
        sample(store, np.zeros(WIDTH, np.uint8), 1, 0, "anna")
    monkeypatch.setattr("acclimate.edge.store.connection.is_read_only", lambda path: path.exists())
    with Store(path, "f" * 64, WIDTH, CLASSES, max_bytes=MIN_BYTES) as store:
        assert store.stamp() == store.stamp()
        assert store.find(tag="anna").tolist() == [1]
        assert (store.max_bytes, store.erase_pending, store.staging) == (None, False, False)
        for change in (
            lambda: store.erase([1]),
            lambda: store.stage([b"x"], np.zeros((1, WIDTH), np.uint8)),
            lambda: store.remove_class(1, forget=True),
            lambda: store.set_frozen(1, True),
            lambda: store.limit(None),
        ):
            with pytest.raises(StoreError, match="is read-only"):
                change()
    assert [file.name for file in tmp_path.iterdir()] == ["device.db"]
