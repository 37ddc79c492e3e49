"""One run at a time in a folder: a lock that ends with the process that holds it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

LOCK_FILE = ".acclimate.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder of a run for the block.

    The lock is the system's, on the file ``.acclimate.lock``, which says who holds it and vanishes with it. A process
    that is killed leaves the file and not the lock. It is a lock of the process (`fcntl.lockf`): those that load data
    do not inherit it. Where system or file system have no such locks, nothing is held.

    Args:
        folder: The folder; there already.

    Raises:
        InputError: If another process holds it.
    """
    handle = _take(folder / LOCK_FILE)
    try:
        yield
    finally:
        if handle is not None:
            # While it is held: nobody else's is removed.
            with suppress(OSError):
                (folder / LOCK_FILE).unlink()
            os.close(handle)


def refuse_held(folder: Path) -> None:
    """Refuse a folder that another process trains in; nothing is held, made or changed.

    Raises:
        InputError: If one does.
    """
    try:
        import fcntl

        handle = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW)
    except (ImportError, OSError):
        # No system with such locks, or no such file.
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _refusal(folder, handle) from error
    except OSError:
        return
    finally:
        os.close(handle)


def _take(path: Path) -> int | None:
    """Return the open file with the lock; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        # Windows.
        return None
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError:
            # A folder that takes no file is told by whoever writes to it next.
            return None
        kept = False
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed the file since it was opened.
            kept = path.exists() and os.path.samestat(os.fstat(handle), path.stat())
            if kept:
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return handle
        except (BlockingIOError, PermissionError) as error:
            raise _refusal(path.parent, handle) from error
        except OSError:
            # Some file systems of other machines have no such locks.
            with suppress(OSError):
                path.unlink()
            return None
        finally:
            if not kept:
                os.close(handle)


def _refusal(folder: Path, handle: int) -> InputError:
    """Say who trains in a folder, as the lock's file notes."""
    words = os.pread(handle, 300, 0).decode(errors="replace").split()
    who = "one"
    if words and words[0].isdecimal():
        there = f" on {words[1]}" if len(words) > 1 and words[1] != socket.gethostname() else ""
        who = f"process {words[0]}{there}"
    return InputError(
        f"expected no other process to train in {folder}, found that {who} does. Wait for it, or choose another folder "
        f"with --out."
    )
