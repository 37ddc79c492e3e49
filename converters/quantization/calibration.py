"""The range that 8 bits of an activation cover: from what calibration data shows, by one of three methods."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, InputError

Calibration = Literal["minmax", "entropy", "percentile"]
Range = tuple[float, float]
Batches = Callable[[], Iterable[Mapping[str, NDArray[np.float32]]]]
PERCENTILE = 99.99
# Samples of which every activation is looked at: that takes longer than to run them.
WATCHED = 32
BINS, _LEVELS = 2048, 256
# Ends of the range that are tried: every this many bins.
_STRIDE = 16


@dataclass(frozen=True, eq=False)
class Histogram:
    """How the values of one activation are spread.

    Args:
        low: The least value, 0 at most: 8 bits must show 0 exactly, for padding.
        high: The greatest, 0 at least.
        counts: ``(2048,)`` values in bins of equal width from `low` to `high`.
    """

    low: float
    high: float
    counts: NDArray[np.int64]


def check_method(method: str) -> None:
    """Refuse a calibration method that is none.

    Raises:
        InputError: If it is not known.
    """
    if method not in get_args(Calibration):
        raise InputError(f"expected calibration out of {get_args(Calibration)}, found {method!r}.")


def find_ranges(batches: Batches, method: Calibration = "minmax", percentile: float = PERCENTILE) -> dict[str, Range]:
    """Find the range of each activation.

    Args:
        batches: Gives the activations by name, batch by batch, as often as it is called: once for ``"minmax"``, twice
            for the others, so that memory holds one batch and the histograms.
        method: ``"minmax"`` for all that was seen, ``"percentile"`` to cut off the rarest values at both ends,
            ``"entropy"`` for the range whose 256 levels tell the most of the distribution.
        percentile: Share of the values, in percent, that ``"percentile"`` keeps.

    Returns:
        Lower and upper end by name, 0 between them.

    Raises:
        CalibrationError: If an activation is not finite.
        InputError: If the method or the percentile is none.
    """
    check_method(method)
    if not 50 < percentile <= 100:
        raise InputError(f"expected a percentile above 50 and at most 100, found {percentile:g}. 99.99 is usual.")
    extremes: dict[str, Range] = {}
    for batch in batches():
        for name, values in batch.items():
            low, high = extremes.get(name, (0.0, 0.0))
            # Unlike min and max, these pass NaN on.
            extremes[name] = float(np.minimum(low, values.min())), float(np.maximum(high, values.max()))
    broken = [name for name, ends in extremes.items() if not np.isfinite(ends).all()]
    if broken:
        raise CalibrationError(
            f"expected finite activations on the calibration data, found NaN or infinity in {broken[0]!r}. "
            f"Check the weights and the samples."
        )
    if method == "minmax":
        return extremes
    counts = {name: np.zeros(BINS, np.int64) for name in extremes}
    for batch in batches():
        for name, values in batch.items():
            # Of a constant activation there is no histogram.
            if extremes[name][0] < extremes[name][1]:
                # 8 bits show 0 exactly, however often it occurs: it tells nothing about where to cut.
                kept = values[values != 0] if method == "entropy" else values
                counts[name] += _count(kept, extremes[name])
    found = {name: Histogram(*extremes[name], counts[name]) for name in extremes}
    if method == "percentile":
        return {name: percentile_range(histogram, percentile) for name, histogram in found.items()}
    return {name: entropy_range(histogram) for name, histogram in found.items()}


def check_structure(samples: NDArray[np.generic]) -> None:
    """Refuse calibration data of which every sample is one value throughout.

    Raises:
        CalibrationError: If so: the ranges of such data are no sensor's.
    """
    flat = samples.reshape(len(samples), -1)
    if flat.shape[1] > 1 and bool((flat == flat[:, :1]).all()):
        raise CalibrationError(
            f"expected calibration samples that show something, found that each of the {len(samples)} is one value "
            f"throughout. Take samples of the sensor at work, not of a covered lens or a lamp."
        )


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Return the range that leaves out an equal share of the values at each end, to the width of a bin."""
    total = int(histogram.counts.sum())
    if not total:
        return histogram.low, histogram.high
    below = np.cumsum(histogram.counts) / total
    rest = (100 - percentile) / 200
    start = int(np.searchsorted(below, rest, side="right"))
    stop = min(int(np.searchsorted(below, 1 - rest, side="left")) + 1, BINS)
    return _ends(histogram, start, stop)


def entropy_range(histogram: Histogram) -> Range:
    """Return the range whose 256 levels lose the least information of a distribution.

    For each end in turn, with the other one held, the divergence of the distribution (what lies outside counted at the
    ends) from what 256 levels tell of it is least (Migacz 2017, "8-bit inference with TensorRT", there for one end).
    """
    counts, zero = histogram.counts, _bin_of_zero(histogram)
    if not counts.sum():
        return histogram.low, histogram.high
    start, stop = 0, BINS
    uppers = range(max(zero + 1, _LEVELS), BINS + 1, _STRIDE)
    stop = min((*uppers, BINS), key=lambda end: divergence(counts, start, end))
    lowers = range(0, min(zero, stop - _LEVELS) + 1, _STRIDE)
    start = min(lowers, key=lambda begin: divergence(counts, begin, stop), default=0)
    return _ends(histogram, start, stop)


def divergence(counts: NDArray[np.int64], start: int, stop: int) -> float:
    """Return the Kullback-Leibler divergence, in nats, of a histogram from its clipped and quantized self.

    Args:
        counts: ``(b,)`` values in each bin.
        start: First bin of the range.
        stop: One after its last bin; at least 256 bins.
    """
    inside = counts[start:stop].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[stop:].sum()
    level = np.arange(len(inside)) * _LEVELS // len(inside)
    filled = inside > 0
    mass = np.bincount(level, inside, _LEVELS)
    told = np.where(filled, mass[level] / np.maximum(np.bincount(level, filled, _LEVELS)[level], 1), 0.0)
    shown = clipped > 0
    p, q = clipped[shown] / clipped.sum(), told[shown] / max(told.sum(), 1.0)
    # What was clipped into a bin where nothing was is told by nothing at all: a large, finite price.
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())


def _count(values: NDArray[np.float32], ends: Range) -> NDArray[np.int64]:
    """Return how many values are in each bin; several times as fast as `np.histogram`."""
    places = ((values.ravel() - np.float32(ends[0])) * np.float32(BINS / (ends[1] - ends[0]))).astype(np.int32)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)


def _bin_of_zero(histogram: Histogram) -> int:
    width = (histogram.high - histogram.low) / BINS
    return 0 if width == 0 else min(int(-histogram.low / width), BINS - 1)


def _ends(histogram: Histogram, start: int, stop: int) -> Range:
    width = (histogram.high - histogram.low) / BINS
    return min(histogram.low + start * width, 0.0), max(histogram.low + stop * width, 0.0)
