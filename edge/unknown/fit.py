"""Choosing the threshold of the `unknown` verdict by held-out samples."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...latent import Codes, LatentCode
from ..distinct import distinct
from ..statistics import SourceStatistics
from .model import Labelled, discriminate
from .novelty import Novelty, conformal_threshold, samples_needed

RATE = 0.05
# Held-out scores after which further folds would not move the threshold.
ENOUGH = 1_000
# Offset of a class of whose samples nothing can be said: they are never unknown.
EXEMPT = 1e6
# Groups in which classes are left out in turn.
_GROUPS = 5
# Latents scored at a time.
_BLOCK = 1_024


def fit_novelty(
    codes: Codes,
    y: NDArray[np.integer],
    fold: NDArray[np.integer],
    k: int,
    code: LatentCode,
    source: SourceStatistics | None = None,
    shipped: NDArray[np.integer] | None = None,
    rate: float = RATE,
) -> Novelty | None:
    """Fit the score on all samples, and choose its threshold from the scores of samples held out.

    The score that is used is fitted on a few more samples than those that the threshold comes from, which lowers the
    scores of known classes: false alarms are rather fewer than stated. The rate holds for the mix of classes that is
    stored and for the place where it was recorded; a single class, or another place, may have another one.

    A class of the source without local samples keeps its source mean, moved as the other classes have moved. What is
    nearest to it is judged more mildly, by as much as the classes with local samples would need if they had none; if
    fewer than two are in both, it is never unknown.

    Args:
        codes: ``(n, d) uint8``.
        y: ``(n,)`` classes, 0 to k - 1.
        fold: ``(n,)`` fold in which each sample is held out, -1 for never; samples that belong together share one.
        k: Number of classes.
        code: Quantization of the latents.
        source: Source statistics, or None.
        shipped: Place of each of the source's classes among the k; by default they come first, in order.
        rate: Stated false-alarm rate.

    Returns:
        The verdict, deterministic; None where nothing may be called unknown: fewer than two classes, a class that
        neither samples nor the source show, or fewer than `samples_needed` samples that others of their class, or the
        source, allow to judge.

    Raises:
        InputError: If lengths differ, or if the rate is not between 0 and 1.
    """
    if not len(codes) == len(y) == len(fold):
        raise InputError(f"expected a class and a fold for each of {len(codes)} samples, found {len(y)}, {len(fold)}.")
    if len(codes) < samples_needed(rate):
        return None
    if source is not None:
        source = _placed(source, k, np.arange(len(source.count)) if shipped is None else shipped)
    samples = Labelled.of(codes, y, k)
    carried = np.zeros(k, np.bool_) if source is None else source.count > 0
    local = np.bincount(y, minlength=k) > 0
    fitted = discriminate(samples, source, code) if (local | carried).all() else None
    if fitted is None:
        return None
    scores = np.empty(0, np.float32)
    for number in distinct(fold[fold >= 0]):
        held = fold == number
        # What is left must show a sample's class: of a class that it does not show, each sample is unknown by right.
        shown = (np.bincount(y[~held], minlength=k) > 0) | carried
        rows = held & shown[y]
        model = discriminate(samples.without(held), source, code) if rows.any() else None
        if model is not None:
            scores = np.concatenate([scores, _scores(model, codes[rows], code)])
        if len(scores) >= ENOUGH:
            break
    threshold = conformal_threshold(scores, rate)
    if not math.isfinite(threshold):
        return None
    offset = np.zeros(k, np.float32)
    if source is not None and (carried & ~local).any():
        offset[carried & ~local] = _mildness(samples, source, code, threshold, rate)
    return replace(fitted, offset=offset, threshold=threshold, rate=rate, samples=len(scores))


def _scores(model: Novelty, codes: Codes, code: LatentCode) -> NDArray[np.float32]:
    """Score codes, a block of latents at a time."""
    return np.concatenate([model.scores(code.decode(codes[i : i + _BLOCK])) for i in range(0, len(codes), _BLOCK)])


def _placed(source: SourceStatistics, k: int, shipped: NDArray[np.integer]) -> SourceStatistics:
    """Return source statistics with a row for each of k classes."""
    count, total = np.zeros(k), np.zeros((k, source.sum.shape[1]))
    count[shipped], total[shipped] = source.count, source.sum
    return replace(source, count=count, sum=total)


def _mildness(samples: Labelled, source: SourceStatistics, code: LatentCode, threshold: float, rate: float) -> float:
    """Return how far above the threshold a class known from the source alone may score.

    Each class that is in both is taken for one without local samples in turn, and its samples are scored; of the
    ``1 - rate`` quantiles of the classes, the greatest counts. They are few, and no other class need be like them.
    """
    shared = np.flatnonzero((np.bincount(samples.y, minlength=samples.k) > 0) & (source.count > 0))
    groups = min(len(shared), _GROUPS)
    found = []
    for group in range(groups if groups >= 2 else 0):
        absent = shared[group::groups]
        model = discriminate(samples.without(np.isin(samples.y, absent)), source, code)
        if model is None:
            continue
        for label in absent:
            scores = _scores(model, samples.codes[samples.y == label], code)
            found.append(float(np.sort(scores)[math.ceil((len(scores) - 1) * (1 - rate))]) - threshold)
    return max([0.0, *found]) if found else EXEMPT
