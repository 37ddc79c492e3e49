"""What the tests of damaged stores share: a store to damage, and a use of everything in it."""

import os
from pathlib import Path

import numpy as np

from acclimate.edge.store.store import Store

from .stores import WIDTH


def make(path: Path) -> bytes:
    """Make a store of forty samples and a version, and return its bytes."""
    with Store(path, "f" * 64, WIDTH, ("bark", "moss")) as store:
        codes = np.random.default_rng(0).integers(0, 256, (40, WIDTH)).astype(np.uint8)
        store.add(codes, [i % 2 for i in range(40)], [store.digest(row) for row in codes], [None] * 40, [None] * 40)
        store.add_version("{}", bytes(100))
    return path.read_bytes()


def use(path: Path) -> None:
    """Open a store, read everything, and write."""
    with Store(path, "f" * 64, WIDTH, ("bark", "moss"), timeout=0.2) as store:
        store.labelled()
        store.versions()
        store.count()
        store.classes()
        store.version(store.current)
        store.add(np.zeros((1, WIDTH), np.uint8), [0], [os.urandom(16)], [None], [None])
        store.label([2], [1])
