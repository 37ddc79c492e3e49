"""Folders that appear under their name complete, or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputExistsError

# Names that runs give: what they leave half written is swept away, and what others made is not.
_PART = re.compile(r"\.(?:model|(?:best|step)-\d{9})(?:\.\w{8})?\.part")
_FILE_PART = re.compile(r"\.(?:config\.toml|log\.jsonl)\.\w{8}\.part")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder its name only once everything in it is on the disk.

    Args:
        target: The name it gets at the end of the block, unless the block raises.

    Yields:
        Where the block writes files: a folder beside, under a name that begins with a dot.

    Raises:
        OutputExistsError: If something has that name.
        OSError: If the disk is full, or cannot be written to. Nothing is left behind then.
    """
    if target.exists():
        raise OutputExistsError(f"expected no file or folder at {target}, found one. Choose another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        for path in folder.iterdir():
            _sync(path)
        _sync(folder)
        # Renaming a folder onto another fails unless that one is empty.
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _sync(target.parent)


def remove_folder(target: Path) -> None:
    """Remove a folder: first its name, so that no half of it is ever taken for the whole."""
    if target.exists():
        doomed = target.with_name(f".{target.name}.part")
        shutil.rmtree(doomed, ignore_errors=True)
        target.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def is_part(name: str) -> bool:
    """Return whether a run that was killed while it wrote leaves such a name."""
    return bool(_PART.fullmatch(name) or _FILE_PART.fullmatch(name))


def remove_parts(parent: Path) -> None:
    """Remove what a run that was killed while it wrote or removed a folder has left beside it."""
    for path in parent.glob(".*.part"):
        if _PART.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    # Windows has no way to open a folder for this.
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        # Some file systems cannot sync a folder.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
