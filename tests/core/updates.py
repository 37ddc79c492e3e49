"""What the tests of updates share: what a bundle ships, heads made from it, and their bytes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.bundle import LinearLayer
from acclimate.keys import PrivateKey
from acclimate.update import Base, Update, write_update

K, D = 3, 5
HASH, OTHER_HASH = "ab" * 32, "cd" * 32
KEY, OTHER = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))
Float32 = NDArray[np.float32]


def draw(seed: int, *shape: int) -> Float32:
    """Return normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


BASE = Base(HASH, D, ("a", "b", "c"), LinearLayer(draw(0, K, D), draw(1, K)))


def head(classes: tuple[str, ...], seed: int | None = None, **changes: Any) -> Update:
    """Return an update whose rows are the shipped ones by name, all others drawn."""
    assert BASE.head is not None
    weight, bias = draw(2 if seed is None else seed, len(classes), D), draw(3, len(classes))
    for i, name in enumerate(classes):
        if seed is None and name in BASE.classes:
            weight[i], bias[i] = (array[BASE.classes.index(name)] for array in (BASE.head.weight, BASE.head.bias))
    return Update(**{"variant": HASH, "number": 7, "classes": classes, "weight": weight, "bias": bias, **changes})


def packed(tmp_path: Path, update: Update, base: Base = BASE, **options: Any) -> bytes:
    """Return the bytes of an update."""
    size = write_update(tmp_path / "u.accu", update, base, overwrite=True, **options)
    content = (tmp_path / "u.accu").read_bytes()
    assert len(content) == size
    return content


def resealed(content: bytes) -> bytes:
    """Make an altered unsigned update whole again, as somebody who means harm would."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()
