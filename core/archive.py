"""The container of a bundle: a ZIP file with stored members, each aligned to 64 bytes.

Members are stored, never compressed, so that a reader can map them into memory and no file can unpack to more than its
own size. Everything that a ZIP file may say in two places is checked to agree, since other tools may believe the other.
"""

import mmap
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import BundleFormatError, OutputExistsError

ALIGNMENT = 64
MAX_MEMBERS = 64
MAX_BYTES = 2**31 - 1
_NAME = re.compile(r"[a-z0-9_]+(?:[./-][a-z0-9_]+)*")
_PADDING_ID = 0xD935
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError, EOFError)
_ADVICE = "Get the file again from where it came from, or write it again with 'acclimate convert'."


class Archive:
    """A bundle's container, opened for reading and mapped into memory.

    Args:
        path: The file.

    Raises:
        BundleFormatError: If it is not a ZIP file of the form that `write_archive` gives.
        FileNotFoundError: If it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        size = self.path.stat().st_size
        if not self.path.is_file() or not 22 <= size <= MAX_BYTES:
            raise self._broken(f"expected a file of 22 bytes to 2 GiB, found {size:,} bytes")
        with self.path.open("rb") as file:
            try:
                with zipfile.ZipFile(file) as directory:
                    members, comment, end = directory.infolist(), directory.comment, directory.start_dir
            except (
                zipfile.BadZipFile,
                NotImplementedError,
                ValueError,
                struct.error,
                OverflowError,
                EOFError,
            ) as error:
                raise self._broken(f"expected a ZIP file, found that {error}") from error
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            if comment:
                raise self._broken("expected no archive comment, found one")
            self._spans = self._check(members, end)
        except BaseException:
            self._map.close()
            raise

    @property
    def sizes(self) -> dict[str, int]:
        """Size of every member in bytes, in the order of the file."""
        return {name: stop - start for name, (start, stop) in self._spans.items()}

    def read(self, name: str) -> bytes:
        """Return the content of one member.

        Raises:
            BundleFormatError: If there is no such member.
        """
        if name not in self._spans:
            raise self._broken(f"expected a member {name!r}, found {sorted(self._spans)}")
        start, stop = self._spans[name]
        return self._map[start:stop]

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _broken(self, what: str) -> BundleFormatError:
        return BundleFormatError(f"{self.path.name} is not a readable bundle: {what}. {_ADVICE}")

    def _check(self, members: list[zipfile.ZipInfo], end: int) -> dict[str, tuple[int, int]]:
        if not 1 <= len(members) <= MAX_MEMBERS:
            raise self._broken(f"expected 1 to {MAX_MEMBERS} members, found {len(members)}")
        spans: dict[str, tuple[int, int]] = {}
        behind = 0
        for member in sorted(members, key=lambda m: m.header_offset):
            # `filename` is normalised by zipfile; `orig_filename` is what the file says.
            name = member.orig_filename
            if len(name) > 100 or not _NAME.fullmatch(name):
                raise self._broken(f"expected member names like 'onnx/backbone.onnx', found {name[:100]!r}")
            if name in spans:
                raise self._broken(f"expected every member once, found {name!r} twice")
            spans[name] = self._span(member, behind, end)
            behind = spans[name][1]
        return spans

    def _span(self, member: zipfile.ZipInfo, behind: int, end: int) -> tuple[int, int]:
        name, at = member.orig_filename, member.header_offset
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise self._broken(f"expected stored members, found {name!r} compressed")
        if member.flag_bits:
            raise self._broken(f"expected plain members, found {name!r} with flags {member.flag_bits:#06x}")
        if at < behind or at + _LOCAL_HEADER.size > end:
            raise self._broken(f"expected members one after another, found {name!r} at byte {at:,}")
        magic, _, flags, method, _, _, _, packed, unpacked, n_name, n_extra = _LOCAL_HEADER.unpack_from(self._map, at)
        start = at + _LOCAL_HEADER.size + n_name + n_extra
        found = self._map[at + _LOCAL_HEADER.size : at + _LOCAL_HEADER.size + n_name]
        if (
            magic != b"PK\x03\x04"
            or flags
            or method
            or not packed == unpacked == member.file_size
            or found != name.encode()
        ):
            raise self._broken(f"expected the header of {name!r} to repeat what the directory says, found otherwise")
        if start + member.file_size > end:
            raise self._broken(f"expected {member.file_size:,} bytes of {name!r}, found {max(0, end - start):,}")
        return start, start + member.file_size


def write_archive(path: str | os.PathLike[str], members: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write members to a container, atomically and reproducibly.

    The file appears under its name only when it is complete. Equal members give equal bytes: no time is stored.

    Args:
        path: Where to write.
        members: Name to content, in the order in which they are stored.
        overwrite: Replace a file that is there.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
        BundleFormatError: If the members do not fit the format.
    """
    target = Path(path)
    refuse_overwrite(target, overwrite=overwrite)
    if not 1 <= len(members) <= MAX_MEMBERS or sum(map(len, members.values())) > MAX_BYTES - 2**20:
        raise BundleFormatError(f"expected 1 to {MAX_MEMBERS} members below 2 GiB, found {len(members)}. Ship less.")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
                for name, content in members.items():
                    if len(name) > 100 or not _NAME.fullmatch(name):
                        raise BundleFormatError(f"expected a member name like 'onnx/backbone.onnx', found {name!r}")
                    archive.writestr(_header(name, file.tell()), content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes a private file; a bundle is one that others may read.
        os.chmod(temporary, 0o644)
        refuse_overwrite(target, overwrite=overwrite)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def refuse_overwrite(path: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError if a file is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already. Choose another name, or say that it may be overwritten.")


def _header(name: str, offset: int) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(name, _EPOCH)
    header.external_attr = 0o644 << 16
    header.create_system = 3
    padding = -(offset + _LOCAL_HEADER.size + len(name) + 4) % ALIGNMENT
    header.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
    return header
