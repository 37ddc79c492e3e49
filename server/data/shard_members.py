"""What a shard holds: the members of a tar file, each checked before it is read."""

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, cast

from ...errors import InputError

# The largest single image, sound or label that is read into memory.
LARGEST = 2**28


def read_members(file: IO[bytes], shard: str) -> Iterator[dict[str, Any]]:
    """Read the files of a shard one after another, as webdataset groups them.

    Args:
        file: The shard; it is read from begin to end, without going back.
        shard: Its name in messages.

    Yields:
        ``fname``, ``data`` and ``__url__``.

    Raises:
        InputError: If it is no uncompressed tar file, is cut off, or has a member that is no plain file, leaves the
            shard by its path, or is too large.
    """
    counted = _Counted(file)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                check_member(member, shard)
                opened = archive.extractfile(member)
                if opened is not None:
                    yield {"fname": member.name.removeprefix("./"), "data": opened.read(), "__url__": shard}
                # The archive would remember them all.
                archive.members = []  # type: ignore[attr-defined]
            # Where the end is marked, there is more than what the members take.
            if counted.bytes <= archive.offset:
                raise InputError(f"{shard}: expected a mark at its end, found none: it is cut off. Restore it.")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shard}: expected an uncompressed tar file, found that {error}: it is another format, or cut off. "
            f"Restore it, or unpack it with gunzip."
        ) from error


class _Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.bytes = file, 0

    def read(self, size: int) -> bytes:
        found = self.file.read(size)
        self.bytes += len(found)
        return found


def check_member(member: tarfile.TarInfo, shard: str) -> None:
    """Refuse a member that is not what a sample is made of.

    Raises:
        InputError: If it is no plain file, leaves the shard by its path, or is too large.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise InputError(f"{shard}: expected members with paths inside, found {member.name!r}. Write the shard anew.")
    if not member.isreg() or member.issparse():
        raise InputError(f"{shard}: expected plain files, found {member.name!r}, a link or device. Write it anew.")
    if member.size > LARGEST:
        raise InputError(
            f"{shard}: expected members of at most {LARGEST:,} bytes, found {member.name!r} of {member.size:,}. Make "
            f"samples of parts of it."
        )
