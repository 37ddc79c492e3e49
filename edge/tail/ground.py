"""What a tail is trained and judged on."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...manifest import Tap
from ...record import record
from ...tail_content import TailContent
from ..adaptation.current import Current
from ..head import Ids
from ..heads.problem import Float64
from ..store.samples import StoredSamples
from .graphs import Float32
from .maps import StoredMaps
from .replay import Replay

# Rows whose latents are decoded at a time.
ROWS = 1_024


@record(eq=False)
class Ground:
    """What a tail is trained and judged on.

    Args:
        content: The tail of the bundle.
        samples: The labelled samples.
        latents: Decodes their codes.
        maps: Their maps, in the same order.
        became: ``(r,)`` class id that each shipped class stands for now; -1 for one that was removed.
        current: What is in use, or None.
        names: Class names by id.
        last: The last tap, or None.
        replay: Draws of the last tap of shipped classes without samples here, or None.
        weight: ``(n,)`` weights of the samples, or None.
        threads: Threads of the runtime.
        seed: Draws the order of the samples.
        deadline: When to stop, by `time.perf_counter`; None for never.
    """

    content: TailContent
    samples: StoredSamples
    latents: Callable[[NDArray[np.uint8]], Float32]
    maps: StoredMaps
    became: Ids
    current: Current | None
    names: dict[int, str]
    last: Tap | None
    replay: Replay | None = None
    weight: Float64 | None = None
    threads: int = 1
    seed: int = 0
    deadline: float | None = None

    def inputs(self, rows: NDArray[np.int64]) -> Float32:
        """Return what the head takes in of some samples, as the last tap of the latents has it."""
        if self.last is None:
            raise AssertionError("only a tail whose head takes the last tap in is asked")
        columns = slice(self.last.offset, self.last.offset + self.last.width)
        found = np.empty((len(rows), self.last.width), np.float32)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            found[part] = self.latents(self.samples.codes[rows[part]])[:, columns]
        return found

    def weights(self, rows: NDArray[np.int64]) -> Float64 | None:
        """Return the weights of some samples, or None."""
        return None if self.weight is None else self.weight[rows]
