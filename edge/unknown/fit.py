"""Choosing the threshold of the `unknown` verdict: by held-out samples, or from the source's statistics alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...latent import Codes, LatentCode
from ..distinct import distinct
from ..statistics import Float64, SourceStatistics, Statistics
from .model import Labelled, discriminate
from .novelty import Novelty, conformal_threshold, samples_needed

RATE = 0.05
# Held-out scores after which further folds would not move the threshold.
ENOUGH = 1_000
# Offset of a class of whose samples nothing can be said: they are never unknown.
EXEMPT = 1e6
# Groups in which classes are left out in turn.
_GROUPS = 5
# Of the approximation from the source: draws in blocks, at least, at most per dimension; degrees of freedom.
_BLOCK, _DRAWS, _LARGEST, _TAILS = 1_024, 4_096, 4, 5.0


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


def novelty_from_source(
    source: SourceStatistics, code: LatentCode, rate: float = RATE, seed: int = 0
) -> Novelty | None:
    """Fit the score on the source's statistics, for a shipped head that has not seen a local sample.

    There are no samples to hold out, so that statistics and further samples are drawn anew (a parametric bootstrap)
    from classes with the source's means and scatter, and with the tails of Student's t of 5 degrees of freedom, which
    real latents are closer to than to Gaussian ones. An approximation: where 5 % was stated, 0.4 to 7 % was seen on
    other samples of the source (`docs/unknown-and-labels.md`). It says nothing of another place.

    Args:
        source: Source statistics.
        code: Quantization of the latents.
        rate: Stated false-alarm rate.
        seed: Of the draws.

    Returns:
        The verdict, deterministic at a fixed BLAS build and thread count; None for fewer than two classes, a class
        without samples, or fewer samples than dimensions, of which the scatter is not known well enough.
    """
    samples_needed(rate)
    k, d = source.sum.shape
    nothing = Labelled.of(np.empty((0, d), np.uint8), np.empty(0, np.int64), k)
    fitted = discriminate(nothing, source, code)
    if fitted is None or source.samples < d or (source.count == 0).any():
        return None
    draw = _drawer(source, np.random.default_rng(seed))
    drawn, left = Statistics.empty(k, d), int(min(source.samples, max(_DRAWS, _LARGEST * d)))
    while left > 0:
        drawn += Statistics.of(*draw(min(left, _BLOCK)), k)
        left -= _BLOCK
    again = discriminate(nothing, SourceStatistics(drawn.count, drawn.sum, drawn.moment, None, None), code)
    if again is None:
        return None
    scores = [again.scores(code.decode(draw(_BLOCK)[0])) for _ in range(_DRAWS // _BLOCK)]
    return replace(fitted, threshold=conformal_threshold(np.concatenate(scores), rate), rate=rate)


# Quoted, so that numpy.random is loaded only where something is drawn.
def _drawer(source: SourceStatistics, rng: "np.random.Generator") -> Callable[[int], tuple[Codes, NDArray[np.int64]]]:
    """Return a function that draws codes and their classes, as many as it is told."""
    mean, (k, d), share = source.mean(), source.sum.shape, source.count / source.samples
    freedom = max(source.samples - np.count_nonzero(source.count), 1)
    if source.moment is not None:
        within = source.moment - mean.T @ source.sum
        powers, axes = np.linalg.eigh((within + within.T) / 2)
        factor, rest = (axes * np.sqrt(np.maximum(powers, 0))).T, np.zeros(d)
    else:
        factor = cast(NDArray[np.float32], source.factor).astype(np.float64)
        rest = np.sqrt(cast(Float64, source.diagonal))

    def draw(n: int) -> tuple[Codes, NDArray[np.int64]]:
        y = rng.choice(k, n, p=share)
        values = rng.normal(size=(n, len(factor))) @ factor + rng.normal(size=(n, d)) * rest
        # Scaled so that the variance stays that of the source.
        values *= np.sqrt((_TAILS - 2) / (rng.chisquare(_TAILS, n) * freedom))[:, None]
        return np.clip(np.rint(values + mean[y]), 0, 255).astype(np.uint8), y

    return draw


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
