"""Which samples a run is made with, in a few words: a run is not resumed on others."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from .split import Data, Split

_NAMES = {"train": "training", "validation": "validation", "target": "target", "held": "labelled target"}


def identity_of(data: Data, contents: Sequence[str] = ()) -> dict[str, Any]:
    """Return what tells data from other data without reading any sample.

    Args:
        data: The data.
        contents: Hash of the content of each part's samples (`DataReport.contents`), where they were read.

    Returns:
        JSON values: classes, shape, and of each part the number of samples, and hashes of their names, labels and
        contents; None where they are only known while reading.
    """
    found: dict[str, Any] = {
        "classes": [list(task.classes) for task in data.tasks] or [list(data.classes)],
        "shape": list(data.shape),
    }
    parts: dict[str, Split | None] = {"train": data.train, "validation": data.validation}
    # Only of runs that adapt, so that what others noted stays the same.
    parts |= {} if data.target is None else {"target": data.target, "held": data.target_validation}
    for place, (part, split) in enumerate(parts.items()):
        own = {**_part(split), "contents": contents[place] if place < len(contents) else None}
        found |= {f"{part}_{name}": value for name, value in own.items()}
    return found


def other_samples(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words by what samples differ; contents only where both are known.

    Args:
        was: From `identity_of`.
        now: Likewise.
    """
    told: list[str] = []
    for key in sorted(was.keys() | now.keys()):
        before, after = was.get(key), now.get(key)
        part, _, what = key.partition("_")
        if before == after or (what == "contents" and None in (before, after)):
            continue
        if part not in _NAMES:
            told.append(f"{key} {after} instead of {before}")
        elif what == "samples":
            told.append(f"{_count(after)} {_NAMES[part]} samples instead of {_count(before)}")
        elif was.get(f"{part}_samples") == now.get(f"{part}_samples"):
            # Of more or fewer samples everything differs.
            told.append(f"other {what} of the {_NAMES[part]} samples")
    return told


def _count(samples: object) -> str:
    return "no" if samples is None else str(samples)


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
