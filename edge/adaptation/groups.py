"""Which samples are one piece of evidence: those of one tag, and near-duplicates of one burst."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...latent import Codes

Groups = NDArray[np.int64]
# Two looks at the same scene are closer than this share of the distance between two samples of a class.
NEAR = 0.2
# With fewer tags a tag is no unit: leaving one out would leave a place out, and so few could never show anything.
LEAST_TAGS = 5
# Below one code of spread a dimension holds little but rounding.
_LEAST_VARIANCE = 1.0
# Rows compared at a time, which bounds the memory.
_ROWS = 64


def sample_groups(
    codes: Codes,
    classes: NDArray[np.int64],
    tags: Sequence[str | None] | None = None,
    within: NDArray[np.float64] | None = None,
) -> Groups:
    """Tell which samples say the same thing, so that they are held out together and counted once.

    Samples with the same tag are one group, where there are at least five tags. The others are compared with the one
    of their class that was observed before them: frames of a video, or of a sensor that stands still, hardly differ,
    and such a chain is one group. Time is not asked: frames that are observed in one call share it.

    Args:
        codes: ``(n, d) uint8`` samples in the order of their ids.
        classes: ``(n,)`` classes.
        tags: ``n`` tags, None for a sample without; or None.
        within: ``(d,)`` variance within the classes where it is known from elsewhere, in squared codes: samples that
            are all alike look spread out beside each other. None takes that of the samples alone.

    Returns:
        ``(n,)`` group numbers, 0, 1, ... in the order in which the groups begin.
    """
    n = len(codes)
    if not n:
        return np.empty(0, np.int64)
    tagged = np.array([tag is not None for tag in tags] if tags is not None else [False] * n)
    names = sorted({tag for tag in tags if tag is not None}) if tags is not None else []
    if len(names) < LEAST_TAGS:
        tagged[:] = False
    order = np.lexsort((np.arange(n), classes))
    begins = ~_repeats(codes, classes, order, within)
    # A chain must not run through a sample that belongs to a tag.
    begins |= tagged[order] | np.concatenate([[True], tagged[order][:-1]])
    group = np.empty(n, np.int64)
    group[order] = np.cumsum(begins) - 1
    if tags is not None and tagged.any():
        number = {name: n + i for i, name in enumerate(names)}
        group[tagged] = [number[tag] for tag in tags if tag is not None]
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    result: Groups = rank[inverse]
    return result


def indistinct(codes: Codes, classes: NDArray[np.int64], within: NDArray[np.float64] | None = None) -> float:
    """Tell how often the label changed and the sensor did not.

    Args:
        codes: ``(n, d) uint8`` samples in the order of their ids.
        classes: ``(n,)`` classes.
        within: As for `sample_groups`.

    Returns:
        Of the samples whose class is another than that of the one before, the share that hardly differs from it.
    """
    order = np.arange(len(codes))
    changes = np.flatnonzero(classes[1:] != classes[:-1])
    if not len(changes):
        return 0.0
    return float(_near(codes, order, _variance(codes, classes, within))[changes].mean())


def _repeats(
    codes: Codes, classes: NDArray[np.int64], order: NDArray[np.intp], within: NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    """Return for each place of an order by class whether it nearly repeats the place before it."""
    found = np.zeros(len(codes), np.bool_)
    found[1:] = classes[order][1:] == classes[order][:-1]
    if found.any():
        found[1:] &= _near(codes, order, _variance(codes, classes, within))
    return found


def _near(codes: Codes, order: NDArray[np.intp], variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each place of an order but the first whether it hardly differs from the one before."""
    squares, inverse = np.empty(len(order) - 1), (1 / np.maximum(variance, _LEAST_VARIANCE)).astype(np.float32)
    for start in range(0, len(squares), _ROWS):
        rows = codes[order[start : start + _ROWS + 1]].astype(np.float32)
        step = np.diff(rows, axis=0)
        squares[start : start + len(step)] = np.square(step, out=step) @ inverse
    # Two samples of a class differ by twice the variance within it; dimensions that never move do not count.
    near: NDArray[np.bool_] = squares <= NEAR**2 * 2 * float((variance * inverse).sum())
    return near


def _variance(codes: Codes, classes: NDArray[np.int64], within: NDArray[np.float64] | None) -> NDArray[np.float64]:
    here = _within(codes, classes, np.lexsort((np.arange(len(codes)), classes)))
    return here if within is None else np.maximum(here, within)


def _within(codes: Codes, classes: NDArray[np.int64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the ``(d,)`` variance within the classes."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(classes[order]) != 0]))
    ends = np.append(starts[1:], len(codes))
    total = np.zeros(codes.shape[1])
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            rows = codes[order[start:end]]
            total += (end - start) * (
                (rows.astype(np.uint16) ** 2).mean(axis=0, dtype=np.float64) - rows.mean(axis=0, dtype=np.float64) ** 2
            )
    freedom = max(len(codes) - len(starts), 1)
    return np.maximum(total, 0) / freedom
