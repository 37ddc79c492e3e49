"""What the tests of the store share: a small store, samples for it, and a look at its rows."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acclimate.edge.store.store import Store

WIDTH = 6
CLASSES = ("bark", "moss")
Opener = Callable[..., Store]


def fill(store: Store, n: int = 10, seed: int = 0) -> np.ndarray:
    """Add samples, every third without a label, and return their codes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, WIDTH)).astype(np.uint8)
    classes = [None if i % 3 == 2 else i % 3 for i in range(n)]
    digests = [store.digest(codes[i] + np.float32(seed)) for i in range(n)]
    store.add(codes, classes, digests, [f"photo {seed}-{i}" for i in range(n)], [None] * n)
    return codes


def sample(store: Store, codes: np.ndarray, i: int, label: int | None = None, tag: str | None = None) -> int:
    """Add one sample with ``(d,)`` codes and a key and digest of its own, and return its id."""
    return int(store.add(codes[None], [label], [store.digest(np.array([i]))], [f"photo-{i:07d}"], [tag])[0])


def read_elsewhere(path: Path) -> bytes:
    """Read a file in another process: closing it in this one would drop the locks that SQLite holds on it here."""
    program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    return subprocess.run([sys.executable, "-S", "-c", program, str(path)], capture_output=True, check=True).stdout


def traces(folder: Path, codes: np.ndarray, *texts: bytes) -> list[str]:
    """Search every file of a folder.

    Args:
        folder: Database, log, index of the log, and whatever else is there.
        codes: ``(n, d) uint8`` latents; any 16 bytes in a row of one count.
        texts: Other content to look for.

    Returns:
        What was found, and where.
    """
    found = []
    for path in sorted(folder.iterdir()):
        data = read_elsewhere(path)
        found += [f"{path.name}: {text!r}" for text in texts if text in data]
        # A run of 31 bytes or more holds one of these windows whole; the ends are looked for on their own.
        width = codes.shape[1]
        starts = [*range(0, width - 15, 16), width - 16]
        found += [
            f"{path.name}: latent {i} at {start}"
            for i, row in enumerate(codes)
            for start in starts
            if row[start : start + 16].tobytes() in data
        ]
    return found


def content(path: Path) -> list[str]:
    """Return every row of a database, through a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
