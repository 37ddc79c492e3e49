"""Files that appear under their name complete, or not at all."""

import errno
import os
import re
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

    What a process that was killed while it wrote the same file has left behind is removed first.

    Args:
        path: The name it gets at the end of the block, unless the block raises.
        overwrite: Replace a file that is there.

    Yields:
        Where the block writes it: under the same name, in a folder beside.

    Raises:
        OutputExistsError: If the file is there, at the beginning or at the end, and `overwrite` is false.
        OSError: If it cannot be written. What was there stays.
    """
    target = Path(path)
    refuse_overwrite(target, overwrite=overwrite)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    _remove_dead(target)
    with _own_folder(target) as folder:
        part = folder / target.name
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            # A full disk names no file.
            if error.errno is not None and error.filename is None:
                error.filename = str(target)
            raise
        refuse_overwrite(target, overwrite=overwrite)
        os.replace(part, target)
    _sync_folder(target.parent)


def refuse_overwrite(path: Path, *, overwrite: bool) -> None:
    """Raise OutputExistsError if a file is there and may not be replaced; a folder or a device never may."""
    if path.exists() and not path.is_file():
        what = "folder" if path.is_dir() else "device, a pipe or a socket"
        raise OutputExistsError(f"expected the name of a file to write, found a {what}: {path}. Choose another name.")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already. Choose another name, or say that it may be overwritten.")


@contextmanager
def _own_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside a file that keeps its name for messages, is held, and vanishes with whatever is in it."""
    # A device that only reads starts sooner without it.
    import tempfile

    while True:
        made = tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with made as name, _held(Path(name)) as held:
            # Before it is held, another process may take it for one that was left behind. Then the next.
            if held is not False:
                yield Path(name)
                return


@contextmanager
def _held(folder: Path) -> Iterator[bool | None]:
    """Hold a folder for the block, or as long as this process lives.

    Yields:
        True if it is held; False if another process or thread holds it, or it is gone; None where that cannot be told.
    """
    try:
        import fcntl
    except ImportError:
        # Windows.
        yield None
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed it.
            held: bool | None = folder.exists()
        except BlockingIOError:
            held = False
        except OSError:
            # Some file systems of other machines have no such locks.
            held = None
        yield held
    finally:
        os.close(handle)


def _remove_dead(target: Path) -> None:
    """Remove the folders that killed processes have left beside a file, and nothing that anybody writes to."""
    import shutil

    part = re.compile(rf"\.{re.escape(target.name)}\.\w{{8}}\.part")
    found: list[Path] = []
    # What cannot be seen, or not be removed, does no harm.
    with suppress(OSError):
        found += [entry for entry in target.parent.iterdir() if part.fullmatch(entry.name)]
    for entry in found:
        with suppress(OSError), _held(entry) as held:
            # Nothing else is ever put there by us.
            ours = all(name == target.name or part.fullmatch(name) for name in os.listdir(entry))
            if held and ours and not entry.is_symlink():
                shutil.rmtree(entry)


def _sync_folder(folder: Path) -> None:
    # The new name must outlast a power cut too. Windows cannot open a folder, and some file systems cannot sync one.
    if os.name == "posix":
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
