"""How long backbones take for one sample on this machine."""

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from hashlib import sha256
from statistics import median
from time import perf_counter, thread_time
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...edge.runtime.runtime import Embedder

_ROUNDS, _WARM, _LEAST_ROUNDS, _MOST_SECONDS = 25, 3, 5, 4.0
Key = TypeVar("Key", bound=Hashable)


class Stopwatch:
    """Measures files of one model, each of them once.

    Every file is measured in turn with the one in float, and told in the seconds of that: figures that were taken at
    different times compare.

    Args:
        load: Loads a file with one thread.
        in_float: The file in float.
        sample: ``(1, *shape)``, one raw sample.
    """

    def __init__(self, load: Callable[[bytes], Embedder], in_float: bytes, sample: NDArray[np.generic]) -> None:
        self._load, self._in_float, self._sample = load, in_float, sample
        self._known: dict[bytes, float] = {}

    def seconds(self, files: Mapping[Key, bytes]) -> dict[Key, float]:
        """Return the seconds for one sample, for each file by its key."""
        names = {key: sha256(content).digest() for key, content in files.items()}
        whole = sha256(self._in_float).digest()
        new = {names[key]: content for key, content in files.items() if names[key] not in self._known}
        new.pop(whole, None)
        if new or whole not in self._known:
            contents = [self._in_float, *new.values()]
            first, *others = latencies([self._load(content) for content in contents], self._sample)
            unit = self._known.setdefault(whole, first)
            self._known |= {name: unit * found / first for name, found in zip(new, others, strict=True)}
        return {key: self._known[name] for key, name in names.items()}


def latencies(embedders: Sequence[Embedder], sample: NDArray[np.generic]) -> list[float]:
    """Measure backbones in turn, so that what else the machine does slows all of them alike.

    Args:
        embedders: Loaded backbones, each with one thread.
        sample: ``(1, *shape)``, one raw sample.

    Returns:
        For each the median of the seconds of one call. They are those of the processor: beside other programs the ratio
        of two such medians varies by 1 to 5 %, of two medians by the clock on the wall by up to 70 %.
    """
    # On Windows a thread's time moves in steps of 16 ms; the least of the wall's is the next best.
    clock, typical = (perf_counter, min) if sys.platform == "win32" else (thread_time, median)
    found: list[list[float]] = [[] for _ in embedders]
    begun = perf_counter()
    for turn in range(_WARM + _ROUNDS):
        for times, embedder in zip(found, embedders, strict=True):
            start = clock()
            embedder.embed(sample)
            if turn >= _WARM:
                times.append(clock() - start)
        if turn >= _WARM + _LEAST_ROUNDS and perf_counter() - begun > _MOST_SECONDS:
            break
    return [float(typical(times)) for times in found]
