"""Which samples a run is made with, in a few words: a run is not resumed on others."""

import hashlib
from typing import Any

from .split import Data, Split


def identity_of(data: Data) -> dict[str, Any]:
    """Return what tells data from other data without reading any sample.

    Args:
        data: The data.

    Returns:
        JSON values: classes, shape, and of each part the number of samples, and hashes of their names and labels; None
        where they are only known while reading.
    """
    found: dict[str, Any] = {
        "classes": [list(task.classes) for task in data.tasks] or [list(data.classes)],
        "shape": list(data.shape),
    }
    for part, split in (("train", data.train), ("validation", data.validation)):
        found |= {f"{part}_{name}": value for name, value in _part(split).items()}
    return found


def _part(split: Split | None) -> dict[str, Any]:
    names = None if split is None else split.names
    labels = None if split is None else split.labels
    return {
        "samples": None if names is None else len(names),
        "names": None if names is None else _hash("\0".join(names).encode(errors="surrogatepass")),
        "labels": None if labels is None else _hash(labels.astype("<i8").tobytes()),
    }


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
