"""Which head, how strongly regularised, and how much of the source: cross-validation on latents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .heads import ABSENT, HEADS, Head, Problem, Setting, Weights
from .heads.problem import Float64

FOLDS = 5
# Equal rows of a matrix may have sums that differ by as much as this, so that a tie is no tie without it.
ROUNDING = 1e-9
# Greatest cross-entropy of a sample, in nats: one that is wrong and sure must not decide alone.
WORST = 10.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """What cross-validation found of one setting.

    Args:
        setting: The setting.
        accuracy: Class-balanced accuracy of predictions on held-out samples.
        loss: Class-balanced cross-entropy in nats of the same, at the best temperature.
        temperature: What the logits must be divided by.
    """

    setting: Setting
    accuracy: float
    loss: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of cross-validation.

    Args:
        best: The chosen setting.
        trials: Every setting tried, best first.
        folds: Number of folds.
        predicted: ``(n,)`` class of each sample as predicted without it, by the setting that the *other* folds chose,
            so that neither fit nor choice has seen it (Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the
            out-of-sample predictions"); -1 where nothing else is known of its class.
    """

    best: Trial
    trials: tuple[Trial, ...]
    folds: int
    predicted: NDArray[np.int64]


def assign_folds(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal samples to folds, class by class in the order given, so that folds have alike classes.

    Args:
        y: ``(n,)`` classes, in the order of the sample ids.

    Returns:
        ``(n,)`` fold of each sample, 0 to 4.
    """
    fold = np.empty(len(y), np.int64)
    behind = 0
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        # Each class goes on where the one before ended: folds differ by one sample at most.
        fold[rows] = (np.arange(len(rows)) + behind) % FOLDS
        behind += len(rows)
    return fold


def cross_validate(problem: Problem, heads: Sequence[Head] = HEADS, progress: Progress | None = None) -> Selection:
    """Try every setting of every head on held-out samples and choose one.

    Settings that take the source's mean of a class without local samples for another class are left out, unless all do:
    held-out samples cannot tell that such a class is lost. Among the settings whose accuracy is within one standard
    error of the best, the one with the least cross-entropy is chosen: few samples leave many settings level.

    Args:
        problem: Samples in the order of their ids, with source and prior.
        heads: The heads to try.
        progress: Called with the number of folds done and of all.

    Returns:
        The choice and what it rests on. Where no class has two samples and there is no source, nothing can be held out:
        then the first setting of the first head, unjudged.
    """
    settings = [(head, eligible(head, problem)) for head in heads]
    flat = [setting for _, some in settings for setting in some]
    judged = _judged(problem)
    if not judged.any():
        unknown = Trial(flat[0], float("nan"), float("nan"), 1.0)
        return Selection(unknown, (unknown,), 0, np.full(len(problem.y), -1))
    fold = assign_folds(problem.y)
    numbers = np.unique(fold[judged])
    logits = np.full((len(flat), len(problem.y), problem.k), ABSENT)
    means, owners = _missing(problem)
    keeps = np.ones(len(flat), np.bool_)
    for done, number in enumerate(numbers):
        held = fold == number
        training = problem.subset(~held)
        row = 0
        for head, some in settings:
            for weights in head.solve(training, some, draft=True):
                logits[row, held] = weights.logits(problem.x[held])
                keeps[row] &= bool((weights.logits(means).argmax(axis=1) == owners).all())
                row += 1
        if progress is not None:
            progress(done + 1, len(numbers))
    tried = np.flatnonzero(keeps) if keeps.any() else np.arange(len(flat))
    best, trials, chosen = _choose(
        [flat[i] for i in tried], logits[np.ix_(tried, judged)], problem.y[judged], fold[judged]
    )
    predicted = np.full(len(problem.y), -1)
    predicted[judged] = chosen
    return Selection(best, trials, len(numbers), predicted)


def eligible(head: Head, problem: Problem) -> tuple[Setting, ...]:
    """Return a head's settings that forget no shipped class.

    A shipped class that has no local sample lives on only in the source statistics or in the shipped head: where there
    is such a class, settings that use neither are left out, and so are those that use one that lacks it, unless each
    lacks some.
    """
    settings, missing, nothing = head.settings(problem), problem.counts == 0, np.zeros(problem.k, np.bool_)
    source = missing & (nothing if problem.source is None else problem.source.count > 0)
    prior = missing & (nothing if problem.prior is None else problem.prior.bias > ABSENT)
    if not (source | prior).any():
        return settings
    by_source, by_prior = not (prior & ~source).any(), not (source & ~prior).any()
    if not by_source and not by_prior:
        by_source = by_prior = True
    return tuple(s for s in settings if (s.source_weight > 0 and by_source) or (s.prior != "none" and by_prior))


def fit(problem: Problem, trial: Trial, heads: Sequence[Head] = HEADS) -> Weights:
    """Fit the chosen setting on all samples, with its temperature folded in."""
    head = next(head for head in heads if head.name == trial.setting.head)
    (weights,) = head.solve(problem, (trial.setting,))
    bias = np.where(weights.bias <= ABSENT, ABSENT, weights.bias / trial.temperature)
    return Weights(weights.weight / trial.temperature, bias)


def _missing(problem: Problem) -> tuple[Float64, NDArray[np.intp]]:
    """Return the source's means of classes without local samples, and these classes."""
    if problem.source is None:
        return np.empty((0, problem.x.shape[1])), np.empty(0, np.intp)
    missing = np.flatnonzero((problem.counts == 0) & (problem.source.count > 0))
    return problem.source.mean[missing], missing


def _judged(problem: Problem) -> NDArray[np.bool_]:
    """Return which samples can be predicted by what is known without them."""
    known = problem.counts >= 2
    if problem.source is not None:
        known |= problem.source.count > 0
    result: NDArray[np.bool_] = known[problem.y]
    return result


def _choose(
    settings: list[Setting], logits: Float64, y: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[Trial, tuple[Trial, ...], NDArray[np.int64]]:
    counts = np.bincount(y)
    weight = 1 / (counts[y] * np.count_nonzero(counts))
    labels = logits.argmax(axis=2)
    correct = labels == y
    scaled = [best_temperature(row, y, weight) for row in logits]
    each = np.stack([losses for _, losses in scaled])
    winner = _best(correct, each, weight)
    predicted = np.empty(len(y), np.int64)
    for number in np.unique(fold):
        held = fold == number
        chosen = winner if held.all() else _best(correct[:, ~held], each[:, ~held], weight[~held])
        predicted[held] = labels[chosen, held]
    trials = [
        Trial(setting, float(correct[i] @ weight), float(each[i] @ weight), scaled[i][0])
        for i, setting in enumerate(settings)
    ]
    order = sorted(range(len(trials)), key=lambda i: (i != winner, -trials[i].accuracy, trials[i].loss))
    return trials[winner], tuple(trials[i] for i in order), predicted


def _best(correct: NDArray[np.bool_], each: Float64, weight: Float64) -> int:
    """Return the row with the least loss among those whose accuracy is about the best; the first of equals."""
    share = weight / weight.sum()
    accuracy = correct @ share
    top = int(accuracy.argmax())
    error = float(np.sqrt((share**2 * (correct[top] - accuracy[top]) ** 2).sum()))
    loss = np.where(accuracy >= accuracy[top] - error - ROUNDING, each @ share, np.inf)
    return int((loss <= loss.min() + ROUNDING).argmax())


def best_temperature(logits: Float64, y: NDArray[np.int64], weight: Float64) -> tuple[float, Float64]:
    """Find the temperature that makes probabilities of held-out samples most likely.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". The loss is convex in the inverse temperature, so a
    golden-section search over its logarithm finds it.

    Args:
        logits: ``(n, k)`` of held-out samples.
        y: ``(n,)`` their classes.
        weight: ``(n,)`` their weights.

    Returns:
        The temperature, and the ``(n,)`` cross-entropy of each sample at it in nats, at most 10. A class that a fold's
        training did not show cannot be predicted: it has no say in the temperature and costs every setting the same.
    """
    top = logits.max(axis=1, keepdims=True)
    below = np.maximum(logits - top, ABSENT)
    known = below > ABSENT / 2
    scale = float(np.median(-np.where(known, below, 0).min(axis=1))) or 1.0
    own = below[np.arange(len(y)), y]
    shown = own > ABSENT / 2
    weight = np.where(shown, weight, 0)
    low, high, golden = -6.0, 6.0, (5**0.5 - 1) / 2

    def losses(power: float) -> Float64:
        inverse = np.exp(power) / scale
        each: Float64 = np.log(np.exp(below * inverse).sum(axis=1)) - own * inverse
        return np.where(shown, each, 0)

    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = losses(left) @ weight, losses(right) @ weight
    while high - low > 0.01:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = losses(left) @ weight
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = losses(right) @ weight
    power = (low + high) / 2
    return float(scale / np.exp(power)), np.where(shown, np.minimum(losses(power), WORST), WORST)
