"""Erasing: afterwards no byte of what was erased is in any file, and no version that was trained on it is left."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store import database, erase
from acclimate.edge.store.connection import Connection
from acclimate.edge.store.store import Store
from acclimate.errors import InputError

from .stores import CLASSES, read_elsewhere, sample, traces

WIDTH = 256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with nothing in it but what the store writes."""
    made = tmp_path / "device"
    made.mkdir()
    return made


def opened(folder: Path, timeout: float = 0.2) -> Store:
    """Open a store that is wide enough to search for."""
    return Store(folder / "device.db", "f" * 64, WIDTH, CLASSES, timeout=timeout)


def text(i: int, tag: bool = True) -> list[bytes]:
    """Return the key of a sample, and the tag that it shares with none."""
    return [f"photo-{i:07d}".encode(), *([f"person-{i:07d}".encode()] if tag else [])]


def filled(store: Store, n: int, first: int = 0) -> tuple[np.ndarray, list[int]]:
    """Add samples with keys and tags of their own, and return codes and ids."""
    codes = np.random.default_rng(first).integers(0, 256, (n, WIDTH)).astype(np.uint8)
    with store.transaction():
        ids = [sample(store, codes[i], first + i, (first + i) % 2, f"person-{first + i:07d}") for i in range(n)]
    return codes, ids


def test_nothing_of_erased_samples_is_in_any_file(folder: Path) -> None:
    """Latents, keys, tags and digests of erased samples are in no file; those of the others are."""
    with opened(folder) as store:
        codes, ids = filled(store, 120)
        gone, left = list(range(0, 120, 3)), [i for i in range(120) if i % 3]
        digests = [store.digest(np.array([i])) for i in range(120)]
        words = [word for i in gone for word in [*text(i), digests[i]]]
        assert len(traces(folder, codes[gone], *words)) >= len(gone) * 4
        assert store.erase([ids[i] for i in gone])
        assert not store.erase_pending
        assert traces(folder, codes[gone], *words) == []
        kept = [word for i in left for word in [*text(i), digests[i]]]
        assert len(traces(folder, codes[left], *kept)) >= len(left) * (3 + WIDTH // 16)
        found = store.labelled()
        assert found.ids.tolist() == [ids[i] for i in left]
        assert found.codes.tobytes() == codes[left].tobytes()
        assert found.tags == tuple(f"person-{i:07d}" for i in left)
    assert traces(folder, codes[gone], *words) == []


def churn(folder: Path, seed: int = 10) -> list[str]:
    """Label, erase and add in many rounds, and return the traces of all that was ever erased."""
    rng = np.random.default_rng(seed)
    gone_codes: list[np.ndarray] = []
    words: list[bytes] = []
    alive: dict[int, tuple[np.ndarray, int]] = {}
    with opened(folder) as store:
        # From the 128th class on, a label takes two bytes more: rows grow, and pages split.
        store.add_classes([f"class {i}" for i in range(200)])
        for turn in range(12):
            codes, ids = filled(store, 70, turn * 100)
            alive |= {i: (codes[k], turn * 100 + k) for k, i in enumerate(ids)}
            chosen = rng.choice(sorted(alive), 50, replace=False)
            store.label(chosen.tolist(), [150 + i % 40 for i in range(50)])
            chosen = rng.choice(sorted(alive), 55, replace=False).tolist()
            store.erase(chosen)
            for i in chosen:
                row, number = alive.pop(i)
                gone_codes.append(row)
                words += [*text(number), store.digest(np.array([number]))]
        return traces(folder, np.array(gone_codes), *words)


def test_a_long_life_leaves_nothing_either(folder: Path) -> None:
    """Rows that SQLite moved between pages, before they were erased, left no copy behind."""
    assert churn(folder) == []


@pytest.mark.parametrize("broken", ["secure_delete", "checkpoint", "rewrite"])
def test_the_search_finds_what_each_measure_prevents(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """With content not overwritten, the log not cut, or tables not rewritten, the same search finds erased bytes."""
    if broken == "secure_delete":
        real = database.connect

        def weak(path: Path | None, *, read_only: bool, timeout: float) -> sqlite3.Connection:
            connection = real(path, read_only=read_only, timeout=timeout)
            connection.execute("PRAGMA secure_delete = OFF")
            return connection

        monkeypatch.setattr("acclimate.edge.store.connection.connect", weak)
    elif broken == "checkpoint":
        monkeypatch.setattr(Connection, "checkpoint", lambda self, timeout: True)
    else:
        monkeypatch.setattr(erase, "rewrite", lambda db, table: None)
    # Digests are keyed at random, and with them it is chance whether SQLite moves a row that is erased later.
    places = [folder / str(attempt) for attempt in range(24)]
    for place in places:
        place.mkdir()
    assert any(churn(place, seed) for seed, place in enumerate(places, 5))


def test_versions_trained_on_erased_samples_go(folder: Path) -> None:
    """Those that were trained on one of the samples go with their weights, the others stay; numbers are not reused."""
    heads = [np.random.default_rng(100 + i).integers(0, 256, (1, 40_000)).astype(np.uint8) for i in range(4)]
    with opened(folder) as store:
        _, ids = filled(store, 10)
        for head, chosen in zip(heads, (ids[:4], ids[4:], ids[:2], ids[5:]), strict=True):
            store.add_version("{}", head.tobytes(), samples=np.array(chosen))
        assert store.erase([ids[1]])
        assert [version.id for version in store.versions()] == [2, 4]
        assert (store.current, store.refit_pending) == (4, False)
        assert traces(folder, np.concatenate([heads[0], heads[2]])) == []
        assert store.erase([ids[9]])
        assert store.versions() == []
        assert (store.current, store.refit_pending) == (0, True)
        assert traces(folder, np.concatenate(heads)) == []
    with opened(folder) as store:
        assert store.refit_pending
        assert store.add_version("{}", b"new", samples=np.array([ids[2]])) == 5
        assert not store.refit_pending
        store.refit_pending = True
        assert store.refit_pending


def test_a_version_of_unknown_samples_goes_with_any(folder: Path) -> None:
    """A version that does not say what it was trained on goes; one that was trained on nothing stays."""
    with opened(folder) as store:
        _, ids = filled(store, 3)
        store.add_version("{}", b"unknown")
        store.add_version("{}", b"an update", samples=np.array([], np.int64))
        assert store.erase([])
        assert len(store.versions()) == 2
        assert store.erase([ids[0]])
        assert [version.id for version in store.versions()] == [2]


def test_erasing_again_is_allowed_and_unknown_ids_are_not(folder: Path) -> None:
    """A call that was cut off can be repeated; an id that no sample ever had is refused, and nothing is erased."""
    with opened(folder) as store:
        _, ids = filled(store, 5)
        assert store.erase(ids[:2])
        assert store.erase(ids[:3])
        for wrong in (6, 0, -1, 10**12):
            with pytest.raises(
                InputError, match=r"expected ids that observe\(\) returned, found .* Nothing was erased"
            ):
                store.erase([ids[4], wrong])
        assert store.count() == (2, 2)
        assert store.ids().tolist() == ids[3:]


def copy(folder: Path, to: Path) -> None:
    """Copy the files of a store that is open, as they are."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(read_elsewhere(file))


READING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM samples").fetchone()
print("reading", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def reader(folder: Path) -> "Callable[[], subprocess.Popen[str]]":
    """Return a function that starts another process which keeps on reading the state of now."""

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", READING, str(folder / "device.db")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        return process

    return start


@pytest.mark.parametrize("after", ["a change", "closing", "opening", "another erasure"])
def test_a_reader_in_the_way_makes_it_pending(
    folder: Path, reader: "Callable[[], subprocess.Popen[str]]", after: str
) -> None:
    """While another process reads an older state, erasing reports pending; what comes next finishes it."""
    store = opened(folder)
    codes, ids = filled(store, 40)
    process = reader()
    assert not store.erase(ids[:20])
    assert store.erase_pending
    assert store.count() == (20, 20)
    assert traces(folder, codes[:20]) != []
    process.communicate("")
    if after == "a change":
        store.add_classes(["crack"])
    elif after == "another erasure":
        assert store.erase([])
    elif after == "closing":
        store.close()
    else:
        copy(folder, folder.parent / "copy")
        store.close()
        folder = folder.parent / "copy"
        assert traces(folder, codes[:20]) != []
    assert after == "opening" or traces(folder, codes[:20], *text(3)) == []
    store.close()
    with opened(folder) as again:
        assert not again.erase_pending
        assert traces(folder, codes[:20], *text(3)) == []


def test_erasing_waits_for_a_reader_that_ends(folder: Path, reader: "Callable[[], subprocess.Popen[str]]") -> None:
    """A reader that is done within the timeout only delays it."""
    with opened(folder, timeout=20) as store:
        codes, ids = filled(store, 10)
        process = reader()
        ender = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
        thread = threading.Thread(target=lambda: (ender.wait(), process.communicate("")))
        thread.start()
        assert store.erase(ids)
        thread.join()
        assert traces(folder, codes) == []


def test_our_own_readers_stand_in_nobodys_way(folder: Path) -> None:
    """Another store that was opened, and has read everything, holds no state of then: erasing ends at once."""
    with opened(folder) as store, opened(folder) as other:
        codes, ids = filled(store, 30)
        other.labelled()
        other.unlabelled()
        other.samples(ids)
        other.versions()
        other.find(tag="person-0000003")
        other.stamp()
        assert store.erase(ids)
        assert traces(folder, codes) == []


def test_erasing_inside_a_transaction_ends_with_it(folder: Path) -> None:
    """Inside a transaction of the caller the files can only be cleaned after it; if it fails, nothing is erased."""
    with opened(folder) as store:
        codes, ids = filled(store, 30)

        def erase_and_fail() -> None:
            with store.transaction():
                assert not store.erase(ids)
                raise KeyError

        with pytest.raises(KeyError):
            erase_and_fail()
        assert store.labelled().codes.tobytes() == codes.tobytes()
        with store.transaction():
            assert not store.erase(ids)
        assert not store.erase_pending
        assert traces(folder, codes) == []


def test_memory_is_erased_too() -> None:
    """A store in memory has no files; erasing works and is never pending."""
    with Store(None, "f" * 64, WIDTH, CLASSES) as store:
        _, ids = filled(store, 5)
        assert store.erase(ids[:3])
        assert store.ids().tolist() == ids[3:]


def test_room_of_erased_samples_is_used_again(folder: Path) -> None:
    """Erasing and adding over and over leaves the file as large as it was."""
    with opened(folder) as store:
        _, ids = filled(store, 100)
        store.erase(ids)
        sizes = []
        for turn in range(1, 8):
            _, ids = filled(store, 100, turn * 1000)
            store.erase(ids)
            sizes.append((folder / "device.db").stat().st_size)
    assert sizes[-1] == sizes[1]
