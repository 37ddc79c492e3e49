"""What makes one sample the same as another: a hash of its content."""

import hashlib
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from ...errors import InputError


@dataclass(frozen=True)
class Fingerprint:
    """A hash of the bytes of a sample.

    Args:
        digest: BLAKE2b, 16 bytes.
        size: Number of bytes.
    """

    digest: bytes
    size: int


def fingerprint(content: Path | bytes | NDArray[Any], name: str) -> Fingerprint:
    """Hash a file, bytes, or the numbers of an array; a file is never held as a whole.

    Args:
        content: What to hash.
        name: Its name in messages.

    Raises:
        InputError: If a file cannot be read.
    """
    if isinstance(content, Path):
        with open_file(content, name) as file:
            return _of(file, name)
    return _of(BytesIO(content if isinstance(content, bytes) else content.tobytes()), name)


def open_file(path: Path, name: str) -> IO[bytes]:
    """Open a file, or say by its name that it cannot be read; what is no file, such as a pipe, is not waited for.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{name}: expected a file, found a folder, pipe or device. Leave it out.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: expected a file, found that {error}. Restore it, or leave it out.") from error


def _of(file: IO[bytes], name: str) -> Fingerprint:
    try:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))  # type: ignore[arg-type]
        return Fingerprint(found.digest(), file.seek(0, os.SEEK_END))
    except OSError as error:
        raise InputError(f"{name}: expected a file, found that {error}. Restore it, or leave it out.") from error
