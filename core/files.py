"""Files that appear under their name complete, or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputExistsError


def write_file(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = False) -> None:
    """Write a file, at once or not at all.

    Args:
        path: Where to write.
        content: What it holds.
        overwrite: Replace a file that is there.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
        OSError: If the folder is missing or takes nothing more. What was there stays.
    """
    with new_file(path, overwrite=overwrite) as part:
        part.write_bytes(content)


@contextmanager
def new_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a file its name only once it is complete and on the disk.

    Args:
        path: The name it gets at the end of the block, unless the block raises.
        overwrite: Replace a file that is there.

    Yields:
        Where the block writes it: under the same name, in a folder beside.

    Raises:
        OutputExistsError: If the file is there, at the beginning or at the end, and `overwrite` is false.
        OSError: If it cannot be written. What was there stays.
    """
    # A device that only reads starts sooner without it.
    import tempfile

    target = Path(path)
    refuse_overwrite(target, overwrite=overwrite)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    # A folder of its own keeps the file's name for messages, and vanishes with whatever is in it.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as folder:
        part = Path(folder) / target.name
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        refuse_overwrite(target, overwrite=overwrite)
        os.replace(part, target)
    _sync_folder(target.parent)


def refuse_overwrite(path: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError if a file is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already. Choose another name, or say that it may be overwritten.")


def _sync_folder(folder: Path) -> None:
    # The new name must outlast a power cut too. Windows cannot open a folder, and some file systems cannot sync one.
    if os.name == "posix":
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
