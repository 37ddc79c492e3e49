"""What happens when a store is opened: made, brought up to date, and held against backbone and bundle."""

import os
from collections.abc import Sequence

from ...errors import StoreCorruptError, StoreError, StoreMismatchError, StoreVersionError
from . import class_table, schema
from .connection import Connection
from .database import damage


def prepare(db: Connection, variant: str, width: int, classes: Sequence[str]) -> None:
    """Make an empty file a store, bring an older one up to date, refuse one that is not this bundle's.

    Args:
        db: The database, just opened.
        variant: Hash of the backbone.
        width: Number of dimensions of a latent.
        classes: Names of the shipped classes.

    Raises:
        StoreMismatchError: If it holds latents of another backbone, or was made with other classes.
        StoreVersionError: If a newer version of Acclimate wrote it.
        StoreCorruptError: If it is not a store.
        StoreError: If it has to be brought up to date and cannot be written.
    """
    with db.reading():
        application, version = db.number("PRAGMA application_id"), db.number("PRAGMA user_version")
        empty = db.number("PRAGMA schema_version") == 0
    if not empty and application != schema.APPLICATION_ID:
        raise StoreCorruptError(damage(db.name, "it is another program's database"))
    if version > schema.SCHEMA_VERSION:
        raise StoreVersionError(
            f"{db.name}: expected a store of schema version {schema.SCHEMA_VERSION} or older, found {version}. "
            f"Update Acclimate on this device."
        )
    if version < schema.SCHEMA_VERSION and db.read_only:
        raise StoreError(
            f"{db.name} is read-only: expected a store of schema version {schema.SCHEMA_VERSION}, found {version}. "
            f"Open it once where it can be written, which brings it up to date."
        )
    if not db.read_only:
        # Not before: it is written to the file, which is now known to be ours.
        db.write_ahead(schema.page_size(width))
    if version < schema.SCHEMA_VERSION:
        with db.transaction():
            _update(db, variant, width, classes, empty=empty)
    _check_backbone(db, variant, width)
    class_table.check(db, classes)


def salt(db: Connection) -> bytes:
    """Return the bytes that key the digests.

    Raises:
        StoreCorruptError: If there are none.
    """
    found = db.setting("salt")
    if not isinstance(found, bytes):
        raise StoreCorruptError(damage(db.name, f"its setting 'salt' is {found!r:.40}"))
    return found


def _update(db: Connection, variant: str, width: int, classes: Sequence[str], *, empty: bool) -> None:
    # Another process may have done it between the look and the lock.
    version = db.number("PRAGMA user_version")
    schema.migrate(db.raw, version)
    db.run(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    if empty and not db.number("SELECT count(*) FROM settings WHERE name = 'variant'"):
        salt = os.urandom(32)
        for name, value in (("variant", variant), ("width", width), ("salt", salt), ("current", 0), ("conformed", "")):
            db.set(name, value)
        class_table.ship(db, classes, migrated=False)
    elif version < 2:
        _check_backbone(db, variant, width)
        class_table.ship(db, classes, migrated=True)


def _check_backbone(db: Connection, variant: str, width: int) -> None:
    bound = db.setting("variant")
    if bound != variant or db.setting("width") != width:
        raise StoreMismatchError(
            f"{db.name}: expected latents of backbone {variant[:12]}..., found those of {str(bound)[:12]}... "
            f"Open it with the bundle and runtime it was made with, or start a new store for this bundle."
        )
