"""The tables of the local store, and how older ones are brought up to date."""

import sqlite3

# "ACLM": tells a store from any other SQLite file.
APPLICATION_ID = 0x41434C4D
SCHEMA_VERSION = 1
# One latent of 2,064 bytes fills half of SQLite's usual page and wastes the other half: large pages pack tighter.
PAGE_SIZE = 16_384

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
# Statements that lead from a schema version to the next; the first makes an empty file a store.
MIGRATIONS: tuple[str, ...] = (_VERSION_1,)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from a schema version to the current one, inside the caller's transaction.

    Args:
        connection: A connection in a write transaction.
        version: The schema version found; 0 for an empty file.
    """
    for script in MIGRATIONS[version:]:
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
