"""Files that are no store, or a damaged one: our error, and nothing is changed."""

import sqlite3
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from acclimate.edge import Learner
from acclimate.edge.store.store import Store
from acclimate.errors import AcclimateError, StoreCorruptError, StoreError

from .damage import make, use
from .stores import WIDTH


@pytest.mark.parametrize("content", [b"no database", b"\x00" * 5000, b"SQLite format 3\x00", b"PK\x03\x04xxxx" * 200])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    """A text, zeros, a bare header, another kind of file: refused, and not a byte of it changed."""
    path = tmp_path / "device.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"device\.db: expected a store of Acclimate, found that .* Restore it"):
        use(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path, tiny_bundle: Path) -> None:
    """A database that is not ours is refused, and neither its journal mode nor any other byte changes."""
    path = tmp_path / "photos.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE settings (name, value); INSERT INTO settings VALUES ('variant', 'x');")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError, match="found that it is another program's database"):
        use(path)
    with pytest.raises(StoreCorruptError, match="found that it is another program's database"):
        Learner.open(tiny_bundle, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["photos.db"]


def test_a_missing_table_or_setting_is_found(tmp_path: Path) -> None:
    """A store from which another program dropped something is refused with what is missing."""
    path = tmp_path / "device.db"
    for statement, message in (
        ("DELETE FROM settings WHERE name = 'salt'", "its setting 'salt' is missing"),
        ("DROP TABLE versions", "no such table: versions"),
    ):
        path.unlink(missing_ok=True)
        make(path)
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(StoreError, match=message):
            use(path)


@pytest.mark.parametrize("seed", range(60))
def test_damage_never_gets_past_our_errors(tmp_path: Path, seed: int) -> None:
    """A truncated file, a flipped bit, a run of noise: it still works, or the error is ours."""
    path, rng = tmp_path / "device.db", np.random.default_rng(seed)
    content = bytearray(make(path))
    at = int(rng.integers(len(content)))
    if seed % 3 == 0:
        del content[at:]
    elif seed % 3 == 1:
        content[at] ^= 1 << int(rng.integers(8))
    else:
        content[at : at + 64] = rng.bytes(len(content[at : at + 64]))
    path.write_bytes(content)
    try:
        use(path)
    except AcclimateError as error:
        assert "device.db" in str(error)  # noqa: PT017  working on is as good an outcome


@pytest.mark.parametrize("change", ["head = zeroblob(100)", "head = x''", "report = 'nonsense'", "report = '{}'"])
def test_a_damaged_version_is_named(tmp_path: Path, tiny_bundle: Path, scenes: ModuleType, change: str) -> None:
    """Weights or a report that are not those that were stored are refused when asked for; the history still lists."""
    path = tmp_path / "device.db"
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        learner.fit(*scenes.frames(40, 2, 1.0))
        assert learner.versions()[-1].current
        learner.rollback(0)
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE versions SET {change}")  # noqa: S608
    connection.commit()
    connection.close()
    with Learner.open(tiny_bundle, path, threads=1) as learner:
        with pytest.raises(StoreCorruptError, match="found that version 1 is damaged: its SHA-256 is another"):
            learner.rollback(1)
        assert [(version.number, version.current) for version in learner.versions()] == [(0, True), (1, False)]


def test_a_damaged_version_leaves_the_others_readable(tmp_path: Path) -> None:
    """A version whose pages are noise is listed as damaged, and those before and after it are what was stored."""
    path = tmp_path / "device.db"
    heads = [np.random.default_rng(i).bytes(50_000) for i in range(3)]
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        for head in heads:
            store.add_version("{}", head)
    content = bytearray(path.read_bytes())
    at = content.index(heads[1][30_000:30_100])
    content[at : at + 100] = bytes(100)
    path.write_bytes(content)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        assert [version.intact for version in store.versions()] == [True, False, True]
        assert store.version(3).head == heads[2]
        with pytest.raises(StoreCorruptError, match="version 2 is damaged"):
            store.version(2)


def test_removing_a_class_does_not_mend_a_damaged_version(tmp_path: Path) -> None:
    """A damaged version stays damaged where a name is taken out of the reports, and keeps nothing of the name."""
    path = tmp_path / "device.db"
    make(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        for text in ('{"summary": "moss"}', '{"summary": "moss and bark"}', '{"moss'):
            store.add_version(text, bytes(9), samples=np.empty(0, np.int64))
        connection = sqlite3.connect(path)
        connection.execute("UPDATE versions SET head = x'01' WHERE id IN (3)")
        connection.execute("DELETE FROM samples WHERE class = 1")
        connection.commit()
        connection.close()
        store.remove_class(1, forget=True)
        found = {version.id: version for version in store.versions()}
        assert (found[2].intact, found[2].report) == (True, '{"summary": "(removed)"}')
        assert not found[3].intact
        assert "moss" not in "".join(version.report for version in found.values())


@pytest.mark.parametrize("bound", [-5, 5, 2**62])
def test_a_bound_that_nobody_could_set_is_damage(tmp_path: Path, bound: int) -> None:
    """Samples do not give way to a bound that was damaged; another bound puts it right."""
    path = tmp_path / "device.db"
    make(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE settings SET value = ? WHERE name = 'max_bytes'", (bound,))
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorruptError, match=f"its setting 'max_bytes' is {bound}"):
        use(path)
    with Store(path, "f" * 64, WIDTH, ("bark", "moss"), max_bytes=2**20) as store:
        assert store.count() == (40, 40)
    use(path)


def test_a_folder_that_is_not_there_is_our_error(tmp_path: Path) -> None:
    """A path that SQLite cannot open gets our error with SQLite's reason and what to do."""
    for path in (tmp_path / "none" / "device.db", tmp_path):
        with pytest.raises(StoreError, match=r"expected a file that .* unable to open database file\. Make its folder"):
            use(path)
