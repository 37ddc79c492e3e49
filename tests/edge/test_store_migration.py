"""Stores of schema versions 1 and 2, as earlier releases wrote them, open with all that is in them."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from acclimate.edge.store.class_table import row_seal
from acclimate.edge.store.sample_rows import sample_seal
from acclimate.edge.store.store import Store
from acclimate.errors import StoreError, StoreMismatchError

from .stores import CLASSES, content, traces

WIDTH = 48
# Written out, so that no change of the code can change what the old files look like.
OLD = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    class INTEGER REFERENCES classes (id),
    key TEXT,
    tag TEXT,
    time REAL NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    codes BLOB NOT NULL
) STRICT;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    report TEXT NOT NULL,
    head BLOB NOT NULL
) STRICT;
PRAGMA application_id = 1094929485;
PRAGMA user_version = 1;
INSERT INTO settings VALUES ('variant', printf('%.64c', 'f')), ('width', 48), ('current', 2), ('conformed', 'here');
INSERT INTO classes VALUES (0, 'bark'), (1, 'moss'), (2, 'crack');
INSERT INTO versions (time, report, head) VALUES (5.0, '{"summary": "one"}', x'01'), (6.0, '{"summary": "two"}', x'02');
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Write a store of schema version 1 with nine samples, the ids 3 and 12 gone."""
    folder = tmp_path / "device"
    folder.mkdir()
    connection = sqlite3.connect(folder / "device.db")
    connection.executescript(OLD)
    connection.execute("INSERT INTO settings VALUES ('salt', ?)", (b"salt" * 8,))
    for i, row in enumerate(latents()):
        label = None if i % 4 == 3 else i % 3
        values = (label, f"photo-{i:07d}", "anna" if i == 5 else None, 100.0 - i, bytes([65 + i]) * 16, row.tobytes())
        connection.execute(
            "INSERT INTO samples (class, key, tag, time, digest, codes) VALUES (?, ?, ?, ?, ?, ?)", values
        )
    connection.execute("DELETE FROM samples WHERE id IN (3, 11, 12)")
    connection.commit()
    connection.close()
    return folder / "device.db"


def latents() -> np.ndarray:
    """Return the codes of the twelve samples that were ever stored."""
    return np.random.default_rng(0).integers(0, 256, (12, WIDTH)).astype(np.uint8)


def test_everything_of_an_old_store_is_there(old: Path) -> None:
    """Samples with ids, labels, keys, tags and times, classes, versions, settings; numbers go on where they were."""
    left = [i for i in range(12) if i + 1 not in (3, 11, 12)]
    for _ in range(2):
        with Store(old, "f" * 64, WIDTH, CLASSES) as store:
            found = store.samples(store.ids())
            assert found.ids.tolist() == [i + 1 for i in left]
            assert found.codes.tobytes() == latents()[left].tobytes()
            assert found.classes.tolist() == [-1 if i % 4 == 3 else i % 3 for i in left]
            assert found.times.tolist() == [100.0 - i for i in left]
            assert store.keys_of(store.ids()) == [f"photo-{i:07d}" for i in left]
            assert store.find(tag="anna").tolist() == [6]
            assert store.classes() == {0: "bark", 1: "moss", 2: "crack"}
            assert store.shipped_classes().tolist() == [0, 1]
            assert [(v.id, v.head, v.intact) for v in store.versions()] == [(1, b"\x01", True), (2, b"\x02", True)]
            assert (store.current, store.conformed, store.max_bytes, store.newest_update) == (2, "here", None, 0)
            assert (store.erase_pending, store.refit_pending, store.trail()) == (False, False, [1, 2])
            assert store.saved(b"some head") is None
    seals_hold(old)
    with Store(old, "f" * 64, WIDTH, CLASSES) as store:
        assert store.add(255 - latents()[:1], [2], [b"new"], [None], [None]).tolist() == [13]
        store.remove_class(2, forget=False)
        store.add_classes(["rust"])
        assert max(store.classes()) == 3


def test_what_the_old_store_had_deleted_is_gone_from_the_file(old: Path) -> None:
    """Old pages may hold copies of rows that were deleted, or moved: none is left, and erasing works as ever."""
    with Store(old, "f" * 64, WIDTH, CLASSES) as store:
        assert traces(old.parent, latents()[[2, 10, 11]], b"photo-0000002") == []
        # It is not known what the old versions were trained on: they go with the first sample.
        assert store.erase([1])
        assert store.versions() == []
        assert (store.current, store.refit_pending) == (0, True)
        assert traces(old.parent, latents()[:1], b"photo-0000000", b"A" * 16) == []


@pytest.mark.parametrize(
    ("variant", "classes"), [("0" * 64, CLASSES), ("f" * 64, ("moss", "bark")), ("f" * 64, ("bark", "moss", "x", "y"))]
)
def test_another_bundle_does_not_migrate_it(old: Path, variant: str, classes: tuple[str, ...]) -> None:
    """A store that is not this bundle's is refused as it is, not brought up to date first."""
    before = content(old)
    with pytest.raises(StoreMismatchError, match="start a new store"):
        Store(old, variant, WIDTH, classes)
    assert content(old) == before


def test_an_old_store_cannot_be_read_only(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, an old store says what to do."""
    monkeypatch.setattr("acclimate.edge.store.connection.is_read_only", lambda path: True)
    with pytest.raises(StoreError, match=r"expected a store of schema version 3, found 1\. Open it once where"):
        Store(old, "f" * 64, WIDTH, CLASSES)


# What schema version 2 had where version 3 has something else, and the state of a store after every change of a class.
SECOND = """
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE latents (slot INTEGER PRIMARY KEY, codes BLOB NOT NULL) STRICT;
CREATE TABLE free (slot INTEGER PRIMARY KEY) STRICT;
CREATE TABLE staged (digest BLOB PRIMARY KEY, slot INTEGER NOT NULL, time REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE seen (class INTEGER PRIMARY KEY, count REAL NOT NULL) STRICT;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slot INTEGER NOT NULL,
    class INTEGER,
    key TEXT,
    tag TEXT,
    time REAL NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    target BLOB
) STRICT;
CREATE TABLE classes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,
    shipped TEXT,
    state TEXT NOT NULL CHECK (state IN ('active', 'frozen', 'removed')),
    merged_into INTEGER
) STRICT;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    report TEXT NOT NULL,
    head BLOB NOT NULL,
    samples BLOB,
    seal BLOB
) STRICT;
PRAGMA application_id = 1094929485;
PRAGMA user_version = 2;
INSERT INTO settings VALUES ('variant', printf('%.64c', 'f')), ('width', 48), ('current', 2), ('conformed', 'here'),
    ('salt', zeroblob(32)), ('erasures', 1), ('scrubbed', 1), ('compact', 0), ('refit', 0), ('newest_update', 7),
    ('max_bytes', 0), ('draws', 0);
INSERT INTO classes VALUES (0, 'Rinde', 'bark', 'frozen', NULL), (1, 'moss', 'moss', 'active', NULL),
    (2, NULL, NULL, 'removed', 1), (3, 'crack "wide"', NULL, 'active', NULL);
INSERT INTO versions (time, report, head) VALUES (5.0, '{}', x'01'), (6.0, '{}', x'02'), (7.0, '{}', x'03');
"""


def seals_hold(path: Path) -> None:
    """Check the seal of every class and sample, past the store."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, name, shipped, state, merged_into, seal FROM classes").fetchall()
    samples = connection.execute("SELECT id, slot, class, key, tag, time, digest, target, seal FROM samples").fetchall()
    connection.close()
    assert rows
    assert [row_seal(*row) for *row, _ in rows] == [sealed for *_, sealed in rows]
    assert [sample_seal(*row) for *row, _ in samples] == [sealed for *_, sealed in samples]


@pytest.mark.parametrize(
    ("current", "refit", "trail"), [(2, 0, [1, 2]), (0, 0, []), (0, 1, [1, 2, 3]), (3, 0, [1, 2, 3])]
)
def test_a_store_of_the_second_schema(tmp_path: Path, current: int, refit: int, trail: list[int]) -> None:
    """Classes keep name, state and fate, and are sealed; versions after the one in use were gone back from."""
    path = tmp_path / "device.db"
    connection = sqlite3.connect(path)
    connection.executescript(SECOND)
    connection.execute("UPDATE settings SET value = ? WHERE name = 'current'", (current,))
    connection.execute("UPDATE settings SET value = ? WHERE name = 'refit'", (refit,))
    connection.commit()
    connection.close()
    for _ in range(2):
        with Store(path, "f" * 64, WIDTH, CLASSES) as store:
            assert store.classes() == {0: "Rinde", 1: "moss", 3: 'crack "wide"'}
            assert (store.present(), store.frozen_classes()) == ({0: 0, 1: 1, 2: 1, 3: 3}, frozenset({0}))
            assert store.shipped_classes().tolist() == [0, 1]
            assert (store.current, store.refit_pending, store.newest_update) == (current, bool(refit), 7)
            assert store.trail() == trail
    seals_hold(path)
