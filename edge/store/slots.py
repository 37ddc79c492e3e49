"""Where latents lie: rows of one size that never move and are overwritten in place.

SQLite with `secure_delete` zeroes a row where it is deleted, but moves rows between pages when these overflow or run
empty, and leaves what they held behind in the unused part of the page. A slot is only ever appended or overwritten by
content of its own size, so there is never a second copy of a latent in the file.
"""

import zlib
from collections.abc import Iterable, Sequence

from ...errors import StoreCorruptError
from .connection import Connection
from .database import damage

SEAL_BYTES = 4


def seal(digest: bytes, codes: bytes) -> bytes:
    """Return the content of a slot: the codes, and their CRC-32 that starts from the digest of the raw input."""
    return codes + zlib.crc32(codes, zlib.crc32(digest)).to_bytes(SEAL_BYTES, "little")


def unseal(digest: object, content: object, width: int) -> memoryview | None:
    """Return the ``width`` bytes of codes that a slot holds, or None if it holds anything but that sample's latent."""
    if not isinstance(content, bytes) or not isinstance(digest, bytes) or len(content) != width + SEAL_BYTES:
        return None
    codes = memoryview(content)[:width]
    return codes if zlib.crc32(codes, zlib.crc32(digest)).to_bytes(SEAL_BYTES, "little") == content[width:] else None


def place(db: Connection, contents: Sequence[bytes]) -> list[int]:
    """Write contents to free slots, and to new ones behind all others, inside a transaction. Returns the slots."""
    free = [int(slot) for (slot,) in db.rows("SELECT slot FROM free ORDER BY slot LIMIT ?", (len(contents),))]
    with db.mapped():
        db.raw.executemany("DELETE FROM free WHERE slot = ?", [(slot,) for slot in free])
    for slot, content in zip(free, contents, strict=False):
        overwrite(db, slot, content)
    first = db.number("SELECT max(slot) FROM latents") + 1
    new = list(range(first, first + len(contents) - len(free)))
    with db.mapped():
        db.raw.executemany("INSERT INTO latents VALUES (?, ?)", zip(new, contents[len(free) :], strict=True))
    return free + new


def overwrite(db: Connection, slot: int, content: bytes) -> None:
    """Put content of the same size in the place of what a slot holds."""
    if db.run("UPDATE latents SET codes = ? WHERE slot = ?", (content, slot)).rowcount != 1:
        raise StoreCorruptError(damage(db.name, f"slot {slot} is missing"))


def wipe(db: Connection, slots: Iterable[int]) -> None:
    """Overwrite slots with zeros and count them as free."""
    chosen = [(slot,) for slot in slots]
    with db.mapped():
        db.raw.executemany("UPDATE latents SET codes = zeroblob(length(codes)) WHERE slot = ?", chosen)
        db.raw.executemany("INSERT OR IGNORE INTO free VALUES (?)", chosen)
