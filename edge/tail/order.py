"""The order in which a tail sees samples: shuffled by a seed, with the classes spread evenly."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def batches(y: Int64, size: int, seed: tuple[int, ...]) -> Iterator[Int64]:
    """Yield batches without end, each of the same size.

    Every pass over the samples takes each once, in another order. In any stretch of it the classes are as frequent as
    they are among all samples, to one or two: so the weights of a batch add up to about the same, and its mean loss is
    an estimate of that of all.

    Args:
        y: ``(n,)`` classes.
        size: Rows of a batch.
        seed: Draws the orders; equal ones give equal batches.

    Yields:
        ``(size,)`` rows.
    """
    rng = np.random.default_rng(seed)
    left = np.empty(0, np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, _pass(y, rng)])
        yield left[:size]
        left = left[size:]


def _pass(y: Int64, rng: np.random.Generator) -> Int64:
    place = np.empty(len(y))
    for label in np.unique(y):
        own = rng.permutation(np.flatnonzero(y == label))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    # Places differ but for an accident; then the order of the rows decides.
    result: Int64 = np.argsort(place, kind="stable")
    return result
