"""The container of a bundle: a ZIP file with stored members, each aligned to 64 bytes.

Members are stored, never compressed, so that a reader can map them into memory and no file can unpack to more than its
own size. Everything around the members follows from their names, sizes and checksums. The reader compares it byte for
byte with what the writer would have written, so no two programs can read the same file differently.
"""

import os
import re
import struct
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from .errors import BundleFormatError, BundleIntegrityError
from .files import new_file, refuse_overwrite
from .record import record

ALIGNMENT = 64
MAX_MEMBERS = 64
MAX_BYTES = 2**31 - 1
MAX_NAME = 100
_NAME = re.compile(rb"[a-z0-9_]+(?:[./-][a-z0-9_]+)*")
_PADDING_ID = 0xD935
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_ZIP_VERSION, _UNIX = 20, 3 << 8
_NEW_YEAR_1980 = 1 << 5 | 1
_MODE = 0o644 << 16
_ADVICE = (
    "Get the file again from where it came from, or write it again with 'acclimate convert'. "
    "A bundle that was unpacked and packed again with another program is not one any more."
)


class Archive:
    """A bundle's container, opened for reading. Not mapped: the process would die if the file were cut short meanwhile.

    Args:
        path: The file.

    Raises:
        BundleFormatError: If it is not a ZIP file of the form that `write_archive` gives.
        FileNotFoundError: If it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        size = self.path.stat().st_size
        if not self.path.is_file():
            raise self._broken("expected a file, found something else")
        if not _END.size <= size <= MAX_BYTES:
            raise self._broken(f"expected a file of {_END.size} bytes to 2 GiB, found {size:,} bytes")
        self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._closing = weakref.finalize(self, os.close, self._descriptor)
        self._size, self._lock = size, threading.Lock()
        try:
            self._entries = {entry.name: entry for entry in self._directory()}
        except BaseException:
            self.close()
            raise

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every member in bytes, in the order of the file."""
        return {name: entry.size for name, entry in self._entries.items()}

    def read(self, name: str) -> bytes:
        """Return the content of one member.

        Raises:
            BundleFormatError: If there is no such member.
            BundleIntegrityError: If its content does not have the CRC-32 that the directory says.
        """
        if name not in self._entries:
            raise self._broken(f"expected a member {name!r}, found {sorted(self._entries)}")
        entry = self._entries[name]
        content = self._bytes(entry.start, entry.start + entry.size)
        found = zlib.crc32(content)
        if found != entry.crc:
            raise BundleIntegrityError(
                f"{self.path.name}: expected {name!r} with CRC-32 {entry.crc:08x}, found {found:08x}. "
                f"The file was damaged: get it again from where it came from."
            )
        return content

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _broken(self, what: str) -> BundleFormatError:
        return BundleFormatError(f"{self.path.name or self.path} is not a readable bundle: {what}. {_ADVICE}")

    def _bytes(self, start: int, stop: int) -> bytes:
        """Read part of the file; less where it ends before."""
        parts = []
        with self._lock:
            if not self._closing.alive:
                raise self._broken("expected an open bundle, found it closed")
            os.lseek(self._descriptor, start, os.SEEK_SET)
            while start < stop and (part := os.read(self._descriptor, stop - start)):
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _directory(self) -> Iterator["_Entry"]:
        """Read the directory at the end of the file and check that everything is where it must be."""
        end = self._size - _END.size
        found = self._bytes(end, self._size)
        if len(found) != _END.size:
            raise self._broken("expected a file that stays as it is, found that it shrinks")
        magic, *_, count, size, at, _ = _END.unpack(found)
        if magic != b"PK\x05\x06":
            raise self._broken("expected a ZIP directory at its end, found none: it is cut short, or something else")
        if not 1 <= count <= MAX_MEMBERS:
            raise self._broken(f"expected 1 to {MAX_MEMBERS} members, found {count}")
        if at + size != end or found != _end(count, size, at):
            raise self._broken("expected one ZIP directory right before the end, without a comment, found otherwise")
        names: set[str] = set()
        behind, directory = 0, at
        for _ in range(count):
            entry = self._entry(at, end)
            if entry.name in names:
                raise self._broken(f"expected every member once, found {entry.name!r} twice")
            if entry.offset != behind or entry.start + entry.size > directory:
                raise self._broken(
                    f"expected {entry.name!r} at byte {behind:,} and before byte {directory:,}, found {entry.size:,} "
                    f"bytes at byte {entry.offset:,}"
                )
            if self._bytes(entry.offset, entry.start) != entry.local():
                raise self._broken(f"expected the header of {entry.name!r} to repeat the directory, found otherwise")
            names.add(entry.name)
            at, behind = at + len(entry.central()), entry.start + entry.size
            yield entry
        if at != end or behind != directory:
            raise self._broken(f"expected nothing but {count} members and their directory, found more")

    def _entry(self, at: int, end: int) -> "_Entry":
        if at + _CENTRAL.size > end:
            raise self._broken("expected as many members in the directory as it says, found fewer")
        fixed = self._bytes(at, at + _CENTRAL.size)
        if len(fixed) != _CENTRAL.size:
            raise self._broken("expected a file that stays as it is, found that it shrinks")
        _, _, _, flags, method, _, _, crc, packed, unpacked, n, *_, offset = _CENTRAL.unpack(fixed)
        name = self._bytes(at + _CENTRAL.size, min(at + _CENTRAL.size + n, end))
        if n > MAX_NAME or not _NAME.fullmatch(name):
            raise self._broken(f"expected member names like 'onnx/backbone.onnx', found {name[:MAX_NAME]!r}")
        entry = _Entry(name.decode(), unpacked, crc, offset)
        if self._bytes(at, at + len(entry.central())) != entry.central():
            raise self._broken(
                f"expected {entry.name!r} stored as it is, with method 0, flags 0 and nothing of its own in the "
                f"directory, found method {method}, flags {flags:#06x} and {packed:,} bytes for {unpacked:,}"
            )
        return entry


@record()
class _Entry:
    """One member: everything from which its two headers follow.

    Args:
        name: Its name.
        size: Size of its content in bytes.
        crc: CRC-32 of its content.
        offset: Where its local header begins.
    """

    name: str
    size: int
    crc: int
    offset: int

    @property
    def padding(self) -> int:
        """Zeros in the extra field, which move the content to a multiple of `ALIGNMENT`."""
        return -(self.offset + _LOCAL.size + len(self.name) + 4) % ALIGNMENT

    @property
    def start(self) -> int:
        """Where the content begins."""
        return self.offset + _LOCAL.size + len(self.name) + 4 + self.padding

    def local(self) -> bytes:
        """Return the header in front of the content."""
        return _LOCAL.pack(b"PK\x03\x04", _ZIP_VERSION, *self._common()) + self._name_and_extra()

    def central(self) -> bytes:
        """Return the entry in the directory."""
        fixed = _CENTRAL.pack(
            b"PK\x01\x02", _UNIX | _ZIP_VERSION, _ZIP_VERSION, *self._common(), 0, 0, 0, _MODE, self.offset
        )
        return fixed + self._name_and_extra()

    def _common(self) -> tuple[int, ...]:
        """Flags, method, time, date, checksum, both sizes, and lengths of name and extra field."""
        return 0, 0, 0, _NEW_YEAR_1980, self.crc, self.size, self.size, len(self.name), 4 + self.padding

    def _name_and_extra(self) -> bytes:
        return self.name.encode() + struct.pack("<HH", _PADDING_ID, self.padding) + bytes(self.padding)


def write_archive(
    path: str | os.PathLike[str],
    members: Mapping[str, bytes],
    *,
    overwrite: bool = False,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write members to a container, atomically and reproducibly.

    The file appears under its name only when it is complete. Equal members give equal bytes: no time is stored.

    Args:
        path: Where to write.
        members: Name to content, in the order in which they are stored.
        overwrite: Replace a file that is there.
        check: Called with the complete file before it gets its name; what it raises passes through.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
        BundleFormatError: If the members do not fit the format.
    """
    refuse_overwrite(Path(path), overwrite=overwrite)
    if not 1 <= len(members) <= MAX_MEMBERS or sum(map(len, members.values())) > MAX_BYTES - 2**20:
        raise BundleFormatError(f"expected 1 to {MAX_MEMBERS} members below 2 GiB, found {len(members)}. Ship less.")
    for name in members:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name.encode()):
            raise BundleFormatError(
                f"expected a member name like 'onnx/backbone.onnx', found {name!r:.200}. Use lower case and digits."
            )
    with new_file(path, overwrite=overwrite) as part:
        with part.open("xb") as file:
            entries: list[_Entry] = []
            for name, content in members.items():
                entries.append(_Entry(name, len(content), zlib.crc32(content), file.tell()))
                file.write(entries[-1].local())
                file.write(content)
            directory, at = b"".join(entry.central() for entry in entries), file.tell()
            file.write(directory + _end(len(entries), len(directory), at))
        if check is not None:
            check(part)


def _end(count: int, size: int, at: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, size, at, 0)
