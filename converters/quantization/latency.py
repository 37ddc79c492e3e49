"""How long loaded backbones take for one sample on this machine."""

from collections.abc import Mapping
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ...edge.runtime.runtime import Embedder

_ROUNDS, _WARM, _MOST_SECONDS = 25, 3, 4.0


def latencies(embedders: Mapping[str, Embedder], sample: NDArray[np.generic]) -> dict[str, float]:
    """Measure backbones in turn, so that what else the machine does slows all of them alike.

    Args:
        embedders: Loaded backbones by name; the caller decides on their threads.
        sample: ``(1, *shape)``, one raw sample.

    Returns:
        Median of the seconds of one call, for each.
    """
    found: dict[str, list[float]] = {name: [] for name in embedders}
    begun = perf_counter()
    for turn in range(_WARM + _ROUNDS):
        for name, embedder in embedders.items():
            start = perf_counter()
            embedder.embed(sample)
            if turn >= _WARM:
                found[name].append(perf_counter() - start)
        if turn > _WARM + 4 and perf_counter() - begun > _MOST_SECONDS:
            break
    return {name: median(times) for name, times in found.items()}
