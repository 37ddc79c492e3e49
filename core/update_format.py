"""The bytes of an update (`.accu`), as `docs/update-format.md` says them: written one way, read strictly."""

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from .bundle_members import SIGNATURE_BYTES
from .errors import UpdateFormatError, UpdateVersionError
from .keys import PrivateKey
from .manifest import MAX_CLASS_NAME, MAX_CLASSES, MAX_WIDTH
from .record import record
from .signing import UPDATE, sign

MAGIC, VERSION = b"ACCU\r\n\x1a\n", 1
MAX_BYTES = 2**28
MAX_NUMBER = 2**63 - 1
# The last second of the year 9999.
MAX_CREATED = 253_402_300_799
MAX_NOTE = 500
MAX_EXPONENT = 100
_DIGEST = hashlib.sha256().digest_size
_HEADER, _NAME = struct.Struct("<8sHHIQQ32s32s4H"), struct.Struct("<HH")
_ADVICE = "Get the file again from where it came from."


@record(eq=False)
class Patch:
    """Content of an update: rows of a shipped head that are kept, and new parameters for the others.

    Args:
        variant: SHA-256 that the update is bound to, 32 bytes.
        base: SHA-256 of the shipped classes and head, 32 bytes.
        number: Orders updates, 1 to 2^63 - 1.
        created: Seconds since 1970, 0 if not told.
        note: One line of text.
        kept: ``(n,) bool``, shipped rows that stay as they are.
        changed: ``(n,) bool``, shipped classes that get new parameters.
        names: Position of a row, and the name that it bears other than its shipped one.
        exponent: ``(m,) int8``, one for each row with new parameters: the changed ones, then those that are new.
        bias: ``(m,) float32``.
        weight: ``(m, d) float16``, to be multiplied by 2 to the power of the row's exponent.
    """

    variant: bytes
    base: bytes
    number: int
    created: int
    note: str
    kept: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    names: tuple[tuple[int, str], ...]
    exponent: NDArray[np.int8]
    bias: NDArray[np.float32]
    weight: NDArray[np.float16]

    @property
    def rows(self) -> int:
        """Number of rows of the head: those with new parameters, and those that are kept."""
        return len(self.bias) + int(self.kept.sum())


@record()
class Envelope:
    """An undamaged update that is not read yet.

    Args:
        content: Everything that a signature covers.
        signature: 96 bytes, or None.
    """

    content: bytes
    signature: bytes | None


def encode(patch: Patch, key: PrivateKey | None = None) -> bytes:
    """Return the bytes of an update, signed if there is a key."""
    note, added = patch.note.encode(), len(patch.bias) - int(patch.changed.sum())
    counts = (len(patch.kept), added, len(patch.names), len(note))
    header = _HEADER.pack(
        *(MAGIC, VERSION, int(key is not None), patch.weight.shape[1], patch.number, patch.created),
        *(patch.variant, patch.base, *counts),
    )
    parts = [header, note, *(np.packbits(rows, bitorder="little").tobytes() for rows in (patch.kept, patch.changed))]
    for place, name in patch.names:
        text = name.encode()
        parts += [_NAME.pack(place, len(text)), text]
    parts += [patch.exponent.tobytes(), patch.bias.astype("<f4").tobytes(), patch.weight.astype("<f2").tobytes()]
    content = b"".join(parts)
    if key is not None:
        content += sign(content, UPDATE, key)
    return content + hashlib.sha256(content).digest()


def unseal(content: bytes) -> Envelope:
    """Check that an update is one, of a known version, and undamaged.

    Raises:
        UpdateFormatError: If it is something else, or damaged.
        UpdateVersionError: If its version is not known.
    """
    if not content.startswith(MAGIC):
        raise _wrong(f"a file that begins with {MAGIC!r}", repr(content[: len(MAGIC)]))
    if not _HEADER.size + _DIGEST <= len(content) <= MAX_BYTES:
        raise _wrong(f"{_HEADER.size + _DIGEST} to {MAX_BYTES:,} bytes", f"{len(content):,}")
    _, version, signed, *_ = _HEADER.unpack_from(content)
    if version != VERSION:
        raise UpdateVersionError(
            f"expected update format version {VERSION}, found {version}. Update Acclimate on this device."
        )
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise _wrong("a content that has the SHA-256 at its end", "that it was damaged")
    if signed not in (0, 1):
        raise _wrong("0 or 1 as the mark of a signature", str(signed))
    end = len(content) - _DIGEST - signed * SIGNATURE_BYTES
    return Envelope(content[:end], content[end:-_DIGEST] if signed else None)


def decode(content: bytes) -> Patch:
    """Read the content of an envelope, taking nothing on trust.

    Raises:
        UpdateFormatError: If anything in it is not as the format says.
    """
    taken = _Taken(content)
    _, _, _, width, number, created, variant, base, *counts = _HEADER.unpack(taken.take(_HEADER.size))
    shipped, added, named, note_bytes = counts
    for what, value, least, most in (
        ("dimensions", width, 1, MAX_WIDTH),
        ("as its number", number, 1, MAX_NUMBER),
        ("as seconds since 1970", created, 0, MAX_CREATED),
        ("shipped classes", shipped, 0, MAX_CLASSES),
        ("new rows", added, 0, MAX_CLASSES),
        ("names", named, added, shipped + added),
        ("bytes of note", note_bytes, 0, MAX_NOTE),
    ):
        if not least <= value <= most:
            raise _wrong(f"{least:,} to {most:,} {what}", f"{value:,}")
    note = check_text(taken.text(note_bytes), "note", MAX_NOTE, blank=True)
    kept, changed = taken.bits(shipped), taken.bits(shipped)
    if (kept & changed).any():
        raise _wrong("a shipped row that is kept or changed", "one that is both")
    m = int(changed.sum()) + added
    rows = m + int(kept.sum())
    if not rows:
        raise _wrong("at least one row", "none")
    names: list[tuple[int, str]] = []
    for _ in range(named):
        place, size = _NAME.unpack(taken.take(_NAME.size))
        if not (names[-1][0] if names else -1) < place < rows:
            raise _wrong(f"names for rows below {rows}, in their order", f"one for row {place}")
        names.append((place, check_text(taken.text(size), "class name", MAX_CLASS_NAME)))
    if sum(place >= rows - added for place, _ in names) != added:
        raise _wrong(f"a name for each of {added} new rows", "a row without")
    exponent = np.frombuffer(taken.take(m), np.int8)
    bias = np.frombuffer(taken.take(4 * m), "<f4").astype(np.float32)
    weight = np.frombuffer(taken.take(2 * m * width), "<f2").astype(np.float16).reshape(m, width)
    taken.end()
    if not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise _wrong("finite parameters", "others")
    if (np.abs(exponent.astype(np.int16)) > MAX_EXPONENT).any():
        raise _wrong(f"exponents from -{MAX_EXPONENT} to {MAX_EXPONENT}", "others")
    return Patch(variant, base, number, created, note, kept, changed, tuple(names), exponent, bias, weight)


def check_text(text: str, what: str, most: int, *, blank: bool = False) -> str:
    """Check one line of text: printable, so that showing it is safe, and not too long.

    Raises:
        UpdateFormatError: If it is not.
    """
    if len(text) > most or not text.isprintable() or not (blank or text.strip()):
        raise _wrong(f"a printable {what} of at most {most} characters", f"{text!r:.60}")
    return text


class _Taken:
    """Takes a content from front to back."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, size: int) -> bytes:
        found = self._content[self._at : self._at + size]
        if len(found) != size:
            raise _wrong(f"{size:,} more bytes at byte {self._at:,}", f"{len(found):,}")
        self._at += size
        return found

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise _wrong("text in UTF-8", str(error)) from error

    def bits(self, count: int) -> NDArray[np.bool_]:
        found = np.unpackbits(np.frombuffer(self.take((count + 7) // 8), np.uint8), bitorder="little").astype(np.bool_)
        if found[count:].any():
            raise _wrong("zeros behind the last row", "others")
        return found[:count]

    def end(self) -> None:
        if self._at != len(self._content):
            raise _wrong("nothing behind the weights", f"{len(self._content) - self._at:,} bytes")


def _wrong(expected: str, found: str) -> UpdateFormatError:
    return UpdateFormatError(f"the update is not valid: expected {expected}, found {found}. {_ADVICE}")
