"""What the tests of the store share: a small store, samples for it, and a look at its rows."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acclimate.edge.store import Store

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


def content(path: Path) -> list[str]:
    """Return every row of a database, through a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
