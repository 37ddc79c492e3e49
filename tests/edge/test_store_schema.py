"""Which file is whose: backbone and classes, schema and migrations, and the settings that durability rests on."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from acclimate.edge.store import schema
from acclimate.edge.store.database import Binding, stored_binding
from acclimate.errors import (
    StoreError,
    StoreMismatchError,
    StoreVersionError,
)

from .stores import WIDTH, Opener, content, fill


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variant": "0" * 64}, r"expected latents of backbone 000000000000\.\.\., found those of ffffffffffff\.\.\."),
        ({"width": WIDTH + 1}, r"expected latents of backbone ffffffffffff"),
        ({"classes": ("moss", "bark")}, r"the classes \['moss', 'bark'\] of this bundle, found \['bark', 'moss'\]"),
        ({"classes": ("bark", "moss", "rust")}, r"expected the classes \['bark', 'moss', 'rust'\] of this bundle"),
    ],
    ids=["backbone", "width", "order of classes", "more classes"],
)
def test_a_store_of_another_bundle_is_refused(
    opened: Opener, path: Path, changed: dict[str, object], message: str
) -> None:
    """A store never mixes two backbones, nor two lists of shipped classes; it stays as it is."""
    store = opened()
    fill(store)
    store.add_classes(["crack"])
    store.close()
    before = content(path)
    with pytest.raises(StoreMismatchError, match=message + r".*(start a new store|with the bundle)"):
        opened(**changed)
    assert content(path) == before


def test_a_newer_schema_is_refused(opened: Opener, path: Path) -> None:
    """What a later version of Acclimate wrote is neither read nor changed."""
    opened().close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    before = content(path)
    with pytest.raises(StoreVersionError, match=r"a store of schema version 3 or older, found 4\. Update Acclimate"):
        opened()
    assert content(path) == before


def test_an_empty_file_becomes_a_store(opened: Opener, path: Path) -> None:
    """A file of no bytes, as `touch` or a failed copy leaves it, is taken from schema version 0 to the newest."""
    path.touch()
    fill(opened())
    assert opened().count() == (10, 7)


def test_an_older_schema_is_brought_up_to_date(opened: Opener, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations that a later version adds run once, in order, and keep what is stored."""
    fill(opened())
    opened().close()
    second = "ALTER TABLE samples ADD COLUMN note TEXT;\nUPDATE samples SET note = 'old'"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, second, "CREATE TABLE more (a)"))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
    assert opened().count() == (10, 7)
    assert opened().count() == (10, 7)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    assert connection.execute("SELECT DISTINCT note FROM samples").fetchall() == [("old",)]
    connection.close()


def test_a_failed_migration_changes_nothing(opened: Opener, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second of two migrations fails, the first is undone too."""
    fill(opened())
    opened().close()
    before = content(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (a)", "CREATE TABLE more (a)"))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
    with pytest.raises(StoreError, match="table more already exists"):
        opened()
    assert content(path) == before


def test_the_pragmas_that_durability_and_forgetting_need(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write-ahead log, full synchronisation, deleted content overwritten, references checked."""
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "application_id": schema.APPLICATION_ID,
        "page_size": schema.page_size(WIDTH),
        "auto_vacuum": 0,
        "temp_store": 2,
    }
    real = sqlite3.connect

    def weak(*args: Any, **options: Any) -> sqlite3.Connection:
        """Connect with the opposite of everything: builds of SQLite differ in their defaults."""
        connection: sqlite3.Connection = real(*args, **options)
        for pragma in ("synchronous = OFF", "secure_delete = OFF", "foreign_keys = OFF", "temp_store = FILE"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", weak)
    connection = opened()._db.raw
    assert {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected} == expected


def test_the_variant_of_a_store_is_read_without_touching_it(opened: Opener, path: Path, tmp_path: Path) -> None:
    """The hash is found where there is a store, None where there is not, and no file is made or changed."""
    opened().close()
    before = path.read_bytes()
    assert stored_binding(path) == Binding("f" * 64, "")
    assert path.read_bytes() == before
    other = tmp_path / "none.db"
    assert stored_binding(other) == Binding(None, "")
    assert stored_binding(None) == Binding(None, "")
    assert not other.exists()
    other.write_bytes(b"no database")
    assert stored_binding(other) == Binding(None, "")
