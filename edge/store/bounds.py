"""A store of bounded size: how many samples still fit, reckoned from what is stored.

The size of the file itself would not do: how full SQLite's pages are depends on the digests, which are keyed at random,
and two devices with the same history would keep different samples.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...errors import InputError, StoreCorruptError
from . import saved
from .connection import Connection
from .database import damage
from .samples import NewSample
from .schema import slots_per_page
from .versions import MAX_VERSIONS

# Below this a bound would leave no room for anything but SQLite's own pages and one version.
MIN_BYTES = 2**20
# What a sample takes beside its latent and texts: a row of the table, and an entry of the index of digests, whose pages
# are about two thirds full. Beside all samples: a page or two for each table.
_ROW_BYTES, _INDEX_BYTES, _FIXED_PAGES = 50, 37, 12
# Versions may claim this share of the file before samples do.
_VERSIONS_SHARE = 0.25
_TEXT = "coalesce(length(cast(key AS BLOB)), 0) + coalesce(length(cast(tag AS BLOB)), 0)"


def check_bound(max_bytes: float | None) -> None:
    """Check the bound of a store in bytes; None is none given, and infinity is given as none.

    Raises:
        InputError: If it leaves no room, or is no whole number.
    """
    if max_bytes is None or (isinstance(max_bytes, float) and max_bytes == math.inf):
        return
    whole = isinstance(max_bytes, int | np.integer) and not isinstance(max_bytes, bool)
    # 5e7 is easier to read than 50000000.
    whole = whole or (isinstance(max_bytes, float) and max_bytes.is_integer())
    if not whole or not MIN_BYTES <= max_bytes < 2**62:
        raise InputError(
            f"expected max_bytes as a whole number from {MIN_BYTES} to below 2**62 for a store, None to keep the bound "
            f"that it has, or math.inf to lift it, found {max_bytes!r:.80}."
        )


def bound_of(db: Connection) -> int:
    """Return the bound of the file in bytes; 0 for none.

    Raises:
        StoreCorruptError: If it is none that could be set: samples would give way to it.
    """
    found = db.count_setting("max_bytes")
    if found and not MIN_BYTES <= found < 2**62:
        raise StoreCorruptError(damage(db.name, f"its setting 'max_bytes' is {found}"))
    return found


def used(db: Connection, width: int) -> int:
    """Return about how many bytes of the file hold something; free slots count."""
    page = db.number("PRAGMA page_size")
    n, text = db.rows(f"SELECT count(*), sum({_TEXT}) FROM samples")[0]  # noqa: S608  ours
    slots = int(n) + db.number("SELECT count(*) FROM staged") + db.number("SELECT count(*) FROM free")
    rows = slots * (page / slots_per_page(width, page) + _ROW_BYTES + _INDEX_BYTES) + int(text or 0)
    return int(rows) + _FIXED_PAGES * page + sum(_version_sizes(db, page)) + saved.used(db)


def room(db: Connection, width: int, arrivals: Sequence[NewSample], max_bytes: int) -> int:
    """Return how many samples like the arrivals fit; below 0, as many have to go.

    Args:
        db: Inside a transaction.
        width: Number of dimensions of a latent.
        arrivals: The samples to come.
        max_bytes: The bound of the file.
    """
    page = db.number("PRAGMA page_size")
    if arrivals:
        text = sum(len((s.key or "").encode()) + len((s.tag or "").encode()) for s in arrivals) / len(arrivals)
    else:
        text = db.rows(f"SELECT coalesce(avg({_TEXT}), 0) FROM samples")[0][0]  # noqa: S608  ours
    per_sample = page / slots_per_page(width, page) + _ROW_BYTES + _INDEX_BYTES + text
    left = max_bytes - used(db, width) - _reserve(db, width, max_bytes, page)
    return db.number("SELECT count(*) FROM free") + int(left // per_sample)


def drop_old_versions(db: Connection, width: int, max_bytes: int) -> None:
    """Delete the oldest versions as long as the file is larger than it may be; the current one stays."""
    while used(db, width) > max_bytes:
        current = db.count_setting("current")
        oldest = db.rows("SELECT min(id) FROM versions WHERE id != ?", (current,))[0][0]
        if oldest is None:
            return
        db.run("DELETE FROM versions WHERE id = ?", (oldest,))


def _version_sizes(db: Connection, page: int) -> list[int]:
    """Return the bytes that each version takes, in whole pages."""
    lengths = db.rows("SELECT length(head) + length(CAST(report AS BLOB)) + coalesce(length(samples), 0) FROM versions")
    return [-(-(int(length) + 100) // page) * page for (length,) in lengths]


def _reserve(db: Connection, width: int, max_bytes: int, page: int) -> int:
    """Return the bytes to leave for versions that are still to come."""
    sizes = _version_sizes(db, page)
    classes = db.number("SELECT count(*) FROM classes WHERE state != 'removed'")
    one = max([*sizes, 4 * (width + 1) * classes + page])
    return max(min(MAX_VERSIONS * one, int(_VERSIONS_SHARE * max_bytes)) - sum(sizes), 0)
