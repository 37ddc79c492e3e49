"""What one adaptation costs in time and memory, by how large it is.

The terms follow from the algorithms; their constants were fitted to `benchmarks.growth` on an x86-64 processor.
"""

import os
import time
from statistics import median

import numpy as np

from ...record import record
from ..heads.closed import REGULARISATIONS, SOURCE_WEIGHTS
from ..heads.softmax import EWC_REGULARISATIONS
from ..heads.softmax import REGULARISATIONS as SOFTMAX_REGULARISATIONS
from ..statistics import FULL_WIDTH, RANK
from .blas import one_thread, small
from .coordinates import WIDEST_ROTATION
from .folds import FOLDS

# Side of the product that tells how fast this machine multiplies, and how often it is done.
_SIDE, _TIMES = 192, 9
# Of coordinates held in double precision at most, numbers; likewise of logits of one job; second moments that are kept.
_DOUBLE, _DOUBLE_LOGITS, _KEPT = 1 << 25, 1 << 24, 1 << 25
# Numbers that heads hold at a time, numbers that temperatures are found for at a time, rows copied at a time.
_TOGETHER, _TEMPERED, _BLOCK = 1 << 22, 1 << 20, 4_096
# Operations that a step costs, in those of a product of matrices; a step over all codes or logits is slower than that.
_CODES, _EMBED, _EIGEN, _CLOSED, _PREDICT = 4_500.0, 1.4, 5.5, 1.75, 5.0
_SOFTMAX, _SOFTMAX_LOGITS, _TEMPERATURE, _NOVELTY, _PROBE, _START = 0.45, 1_800.0, 8_100.0, 1.2, 28.0, 9e8
# The same for the calls of one setting on one fold, with a source; what part of the least is sure to be needed.
_CALLS, _SURE = 1.2e7, 1 / 3
# Measured peaks lie above the sum of the arrays by less; what a process takes for anything at all.
_SLACK, _LEAST = 1.25, 4e6


@record()
class Size:
    """How large an adaptation is.

    Args:
        samples: Labelled samples.
        width: Dimensions of the latent.
        classes: Classes.
        source: Whether the bundle ships source statistics or a head.
    """

    samples: int
    width: int
    classes: int
    source: bool

    @property
    def whole(self) -> bool:
        """Whether the source's second moment travels whole."""
        return self.source and self.width <= FULL_WIDTH

    @property
    def rows(self) -> int:
        """Rows that span what is known, where they are not the second moment."""
        return self.samples + (2 * self.classes + RANK if self.source and not self.whole else 0)

    @property
    def spanned(self) -> bool:
        """Whether heads are solved in the span of these rows, since they are fewer than dimensions."""
        return not self.whole and self.rows < self.width

    @property
    def rotated(self) -> bool:
        """Whether all dimensions are turned to principal axes."""
        return not self.spanned and self.width <= WIDEST_ROTATION

    @property
    def coordinates(self) -> int:
        """Dimensions that heads are solved in."""
        return self.rows if self.spanned else self.width

    @property
    def fold(self) -> int:
        """Rows that are taken out where a fold is held out."""
        return self.samples // FOLDS + self.classes

    @property
    def downdated(self) -> bool:
        """Whether folds are taken out of one decomposition, since they are small beside the width."""
        return 2 * self.fold < self.coordinates

    @property
    def weights(self) -> int:
        """Weights of the source that are tried."""
        return len(SOURCE_WEIGHTS) if self.source else 1

    @property
    def softmax(self) -> int:
        """Settings of `softmax` that are tried."""
        shipped = len(SOFTMAX_REGULARISATIONS) + len(EWC_REGULARISATIONS) if self.source else 0
        return len(SOFTMAX_REGULARISATIONS) + shipped

    @property
    def settings(self) -> int:
        """Settings of all heads that are tried."""
        return self.weights * (1 + len(REGULARISATIONS)) + self.softmax


def memory(size: Size) -> int:
    """Return an upper bound of the working memory in bytes: what is held throughout, and the greatest step."""
    n, d, k, m = size.samples, size.width, size.classes, size.coordinates
    number = 8 if n * max(d, m) <= _DOUBLE else 4
    x, fold, rows = number * n * m, size.fold, min(n, _BLOCK)
    logits = sum(
        settings * n * k * (4 if settings * n * k > _DOUBLE_LOGITS else 8)
        for settings in (size.softmax, *[len(REGULARISATIONS), 1] * size.weights)
    )
    held = n * d + x + logits + (8 * size.settings + 200) * n
    if size.spanned:
        held += 8 * size.rows * d + 8 * m * m
    elif size.rotated:
        held += 8 * d * d
    if size.source:
        held += 8 * m * m + 16 * k * m + (16 * d * d if size.whole else 0)
    if size.spanned:
        embedding = 8 * size.rows * d + 32 * m * m
    else:
        embedding = 16 * rows * d + (32 * d * d if size.rotated else 0) - x
    kept = 8 * FOLDS * m * m if not size.downdated and FOLDS * m * m <= _KEPT else 0
    if size.downdated:
        turned = size.source or not (size.spanned or size.rotated)
        together = min(_TOGETHER, len(REGULARISATIONS) * fold * m)
        closed = 8 * m * m * (4 if turned else 1) + 8 * n * m * turned + 24 * (fold * m + together + 7 * m * k)
    else:
        closed = kept + 40 * m * m + 16 * rows * m + 16 * 7 * m * k
    at_once = min(9 if size.source else 5, max(1, _TOGETHER // max(k * n, 1)))
    softmax = kept + 1.3 * x + 44 * at_once * n * k + 72 * at_once * k * m
    temperature = 48 * min(max(8, size.softmax) * n * k, max(_TEMPERED, n * k))
    choice, final = 20 * size.settings * n + 64 * n * k, 11 * number * k * n + 18 * number * k * m
    novelty = 24 * k * d - logits - x
    novelty += 48 * d * d if n > d else 24 * n * d + 16 * n * n + (8 * RANK * d if size.source else 0)
    return int(_SLACK * (held + max(embedding, closed, softmax, temperature, choice, final, novelty)) + _LEAST)


def seconds(size: Size) -> float:
    """Return about how many seconds a search takes here, from how fast this machine multiplies now."""
    n, k, m = size.samples, size.classes, size.coordinates
    strengths = len(REGULARISATIONS)
    if size.downdated:
        fold, turns = size.fold, size.weights if size.source or not (size.spanned or size.rotated) else 0
        closed = size.weights * FOLDS * strengths * (fold**2 * m + fold**3 / 1.5 + 4 * fold * m * k)
        closed += turns * 2.0 * n * m * m + n * m * m
        turned = turns * m**3
    else:
        closed = 2.0 * n * m * m + size.weights * FOLDS * strengths * (m**3 / 1.5 + 2 * m * m * k)
        turned = 0
    predicted = size.weights * strengths * 2.0 * n * m * k
    minimised = FOLDS * size.softmax * n * k * (4.0 * m * _SOFTMAX + _SOFTMAX_LOGITS)
    tempered = size.settings * n * k * _TEMPERATURE
    search = _EIGEN * turned + _CLOSED * closed + _PREDICT * predicted + minimised + tempered
    # Calls of numpy that small arrays hardly lengthen: from few samples on they are most of the time.
    calls = _CALLS * FOLDS * size.settings * size.source
    return (_least(size) + search + calls) / speed()


def least_seconds(size: Size) -> float:
    """Return a lower bound of how many seconds it takes at least, whatever is left out of the search."""
    return surely(_least(size), size.samples, size.width)


def surely(operations: float, samples: int, width: int) -> float:
    """Return how many seconds so many operations take at least.

    What is refused by it must be beyond what can be done: a third of what is reckoned, on every core that is used.
    """
    cores = 1 if small(samples, width) else os.cpu_count() or 1
    return _SURE * operations / (cores * speed())


def _least(size: Size) -> float:
    """Return the operations of what is done in any case: coordinates, the verdict `unknown`, the source probe."""
    n, d, m, k = size.samples, size.width, size.coordinates, size.classes
    embedding = size.rows**2 * d if size.spanned else 3 * n * d * d * size.rotated
    eigen = m**3 if size.spanned or size.rotated else 0
    novelty = 4.0 * d * d * (n + d) if n > d else 6 * (n * n * d + n**3 / 3)
    probe = min(20 * k, 4_000) * d * min(d, RANK) * 2 * size.source
    return _CODES * n * d + _EMBED * embedding + _EIGEN * eigen + _NOVELTY * novelty + _PROBE * probe + _START


def speed() -> float:
    """Return operations a second of products of matrices on one core, now; the median, should others interrupt."""
    a = np.full((_SIDE, _SIDE), 0.5)
    taken = []
    # As small adaptations are done; on several threads so small a product tells of the other processes.
    with one_thread():
        a @ a
        for _ in range(_TIMES):
            begun = time.perf_counter()
            a @ a
            taken.append(time.perf_counter() - begun)
    return 2.0 * _SIDE**3 / max(median(taken), 1e-9)
