"""Folders of runs that another process holds."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acclimate.server.run_lock import LOCK_FILE

# Without the seconds that torch takes: it holds the lock until it is told to leave.
_HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(handle, fcntl.LOCK_EX)
os.write(handle, f"{os.getpid()}{sys.argv[2]}".encode())
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path, more: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Hold the folder of a run in another process."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _HOLDER, str(folder / LOCK_FILE), more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()
