"""The tables of the local store, and how older ones are brought up to date. `docs/store-format.md` explains them."""

import sqlite3

from .class_table import row_seal
from .sample_rows import sample_seal
from .slots import SEAL_BYTES, seal
from .versions import fingerprint

# "ACLM": tells a store from any other SQLite file.
APPLICATION_ID = 0x41434C4D
SCHEMA_VERSION = 3
# Small pages cost less to write for one sample; a page must be packed at least this full, or a larger one is taken.
_PAGE_SIZES, _PACKED = (4_096, 8_192, 16_384, 32_768, 65_536), 0.85
# What SQLite adds to a page, and to a row that holds one latent.
_PAGE_HEADER, _ROW_HEADER = 8, 12

_VERSION_1 = """
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
"""
# Latents move to slots, which are overwritten in place; everything else about a sample is small enough to be rewritten.
_VERSION_2 = """
CREATE TABLE latents (slot INTEGER PRIMARY KEY, codes BLOB NOT NULL) STRICT;
CREATE TABLE free (slot INTEGER PRIMARY KEY) STRICT;
CREATE TABLE staged (
    digest BLOB PRIMARY KEY,
    slot INTEGER NOT NULL,
    time REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE seen (class INTEGER PRIMARY KEY, count REAL NOT NULL) STRICT;
ALTER TABLE samples RENAME TO old_samples;
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
INSERT INTO latents SELECT id, seal(digest, codes) FROM old_samples ORDER BY id;
INSERT INTO samples SELECT id, id, class, key, tag, time, digest, NULL FROM old_samples ORDER BY id;
DELETE FROM sqlite_sequence WHERE name = 'samples';
INSERT INTO sqlite_sequence SELECT 'samples', seq FROM sqlite_sequence WHERE name = 'old_samples';
DROP TABLE old_samples;
ALTER TABLE classes RENAME TO old_classes;
CREATE TABLE classes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,
    shipped TEXT,
    state TEXT NOT NULL CHECK (state IN ('active', 'frozen', 'removed')),
    merged_into INTEGER
) STRICT;
INSERT INTO classes (id, name, state) SELECT id, name, 'active' FROM old_classes ORDER BY id;
DROP TABLE old_classes;
ALTER TABLE versions ADD COLUMN samples BLOB;
ALTER TABLE versions ADD COLUMN seal BLOB;
UPDATE versions SET seal = fingerprint(report, head, samples);
INSERT INTO settings VALUES
    ('erasures', 1), ('scrubbed', 0), ('compact', 0), ('refit', 0), ('newest_update', 0), ('max_bytes', 0), ('draws', 0)
"""
# What was in use before the current version was not written down: of the later ones, some were rolled back from.
_VERSION_3 = """
ALTER TABLE classes ADD COLUMN seal INTEGER;
UPDATE classes SET seal = row_seal(id, name, shipped, state, merged_into);
ALTER TABLE samples ADD COLUMN seal INTEGER;
UPDATE samples SET seal = sample_seal(id, slot, class, key, tag, time, digest, target);
CREATE TABLE saved (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    samples BLOB,
    forgotten INTEGER NOT NULL
) STRICT;
INSERT INTO settings SELECT 'trail', coalesce(group_concat(id, ' '), '') FROM (
    SELECT id FROM versions WHERE
        id <= (SELECT value FROM settings WHERE name = 'current') OR (SELECT value FROM settings WHERE name = 'refit')
    ORDER BY id
)
"""
# Statements that lead from a schema version to the next; the first makes an empty file a store.
MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from a schema version to the current one, inside the caller's transaction.

    Args:
        connection: A connection in a write transaction.
        version: The schema version found; 0 for an empty file.
    """
    connection.create_function("seal", 2, seal, deterministic=True)
    connection.create_function("fingerprint", 3, fingerprint, deterministic=True)
    connection.create_function("row_seal", 5, row_seal, deterministic=True)
    connection.create_function("sample_seal", 8, sample_seal, deterministic=True)
    for script in MIGRATIONS[version:]:
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def slots_per_page(width: int, page_size: int) -> float:
    """Return how many latents of a width share a page; below 1 where one takes several."""
    row, room = width + SEAL_BYTES + _ROW_HEADER, page_size - _PAGE_HEADER
    return room // row if row <= room else 1 / -(-row // room)


def page_size(width: int) -> int:
    """Choose the page size of a new store.

    Args:
        width: Number of dimensions of a latent, a byte each.

    Returns:
        The smallest that latents fill well, in bytes; else the one that they fill best.
    """
    packed = {size: slots_per_page(width, size) * (width + SEAL_BYTES + _ROW_HEADER) / size for size in _PAGE_SIZES}
    well = [size for size in _PAGE_SIZES if packed[size] >= _PACKED]
    return well[0] if well else max(_PAGE_SIZES, key=lambda size: packed[size])
