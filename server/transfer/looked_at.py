"""Which samples a guard looks at, and how they are read: of files by their place, of shards as they pass."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..data.shards import ShardSamples
from ..data.split import Split
from ..training.batches import read_batch

# Of each side; more tell hardly more, and distances between all are taken.
_MOST = 2_000
# Samples that are read at once.
_BLOCK = 256


def labels_of(split: Split) -> NDArray[np.int64]:
    """Return the label of each sample of one task ``(n,) int64``, -1 for none; shards are read for it, undecoded."""
    dataset = split.dataset
    if isinstance(dataset, ShardSamples):
        tasks = dataset.tasks
        return np.array([s.place(0, *tasks[0]) if tasks else -1 for s in dataset.raw()], np.int64)
    if split.labels is None:
        return np.full(len(dataset), -1, np.int64)  # type: ignore[arg-type]
    return split.labels


def drawn_rows(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return 2,000 of these rows at most, drawn by seed, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST])


def blocks_of(dataset: Dataset[Any], rows: NDArray[np.int64]) -> Iterator[Tensor]:
    """Give samples by their place, unvaried, in blocks ``(b, ...)`` of 256 at most.

    Args:
        dataset: Gives ``(x, y, key)``; of shards, places count as the samples pass.
        rows: ``(n,) int64``, rising.
    """
    if isinstance(dataset, ShardSamples):
        wanted = set(rows.tolist())
        found = (dataset.item(s, vary=False)[0] for place, s in enumerate(dataset.raw()) if place in wanted)
        while block := list(islice(found, _BLOCK)):
            yield torch.stack(block)
        return
    plain = getattr(dataset, "plain", None)
    samples = plain() if plain else dataset
    for start in range(0, len(rows), _BLOCK):
        yield read_batch(samples, rows[start : start + _BLOCK].tolist())[0]
