"""Which head, how strongly regularised, and how much of the source: cross-validation on latents."""

from collections.abc import Callable, Sequence, Set
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...record import record
from ..distinct import distinct
from ..heads import ABSENT, AUTO, HEADS, Head, Problem, Setting, Weights
from ..heads.held_out import Folds
from ..heads.jobs import jobs_of
from ..heads.problem import Float64
from .folds import Int64, assign_folds, can_judge
from .temperature import best_temperatures, probabilities, usual_temperature

# Equal rows of a matrix may have sums that differ by as much as this, so that a tie is no tie without it.
ROUNDING = 1e-9
# More logits of one job than this are held as float32.
_MANY = 1 << 24
Progress = Callable[[int, int], None]


@record()
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


@record(eq=False)
class Selection:
    """The outcome of cross-validation.

    Args:
        best: The chosen setting.
        trials: Every setting tried, best first.
        folds: Number of folds.
        predicted: ``(n,)`` class of each sample as predicted without it, by the setting that the *other* folds chose,
            so that neither fit nor choice has seen it (Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the
            out-of-sample predictions"); -1 where nothing else is known of its class.
        probabilities: ``(n, k)`` probabilities of the classes as given by the same fits, at the temperature that is
            best on the other folds; NaN where nothing else is known of the sample's class.
        temperature: ``(n,)`` that temperature; NaN where there is none.
        fold: ``(n,)`` the fold that each sample was held out with; -1 where it was not.
    """

    best: Trial
    trials: tuple[Trial, ...]
    folds: int
    predicted: Int64
    probabilities: Float64
    temperature: Float64
    fold: Int64


@record(eq=False)
class Search:
    """What cross-validation found of every setting, to choose from as often as is wanted.

    Args:
        problem: The samples.
        fold: ``(n,)`` fold of each sample; -1 where it could not be held out.
        weight: Weights of the samples that could.
        tried: The settings.
        first: The setting to take unjudged where nothing could be held out.
    """

    problem: Problem
    fold: Int64
    weight: Float64
    tried: "list[_Tried]"
    first: Setting

    @property
    def settings(self) -> Set[Setting]:
        """The settings that were tried."""
        return {setting for job in self.tried for setting in job.settings}

    def choose(self, kept: Set[Setting] | None = None) -> Selection:
        """Choose a setting from all folds and, for each fold, one from the others.

        Args:
            kept: The settings to choose from; None for all.

        Returns:
            The choice and what it rests on. Where no class has two samples and there is no source, nothing can be held
            out: then the first setting of the first head, unjudged.
        """
        fold, n, k = self.fold, len(self.fold), self.problem.k
        rows = self._rows(kept)
        if not rows:
            unknown = Trial(self.first, float("nan"), float("nan"), 1.0)
            return Selection(unknown, (unknown,), 0, np.full(n, -1), np.full((n, k), np.nan), np.full(n, np.nan), fold)
        judged = np.flatnonzero(fold >= 0)
        y, part, weight = self.problem.y[judged], fold[judged], self.weight
        labels = np.stack([job.logits[row].argmax(axis=1)[judged] for job, row in rows])
        correct, losses = labels == y, np.stack([job.losses[row] for job, row in rows])
        winner = best_row(correct, losses, weight)
        numbers = distinct(part)
        others = part != numbers[:, None]
        picks = [best_row(correct[:, o], losses[:, o], weight[o]) if o.any() else winner for o in others]
        # Of each fold's choice all logits, to find its temperature on the other folds.
        logits = np.stack([rows[pick][0].logits[rows[pick][1]][judged] for pick in picks])
        away = np.where(others.any(axis=1, keepdims=True), others, True)
        usual = np.array([usual_temperature(rows[pick][0].settings[rows[pick][1]]) for pick in picks])
        temperatures, _ = best_temperatures(logits, y, away * weight, usual)
        predicted, shares, divisor = np.full(n, -1), np.full((n, k), np.nan), np.full(n, np.nan)
        for place, pick in enumerate(picks):
            held = ~others[place]
            predicted[judged[held]] = labels[pick, held]
            shares[judged[held]] = probabilities(logits[place, held], temperatures[place])
            divisor[judged[held]] = temperatures[place]
        trials = [
            Trial(
                job.settings[row], float(correct[i] @ weight), float(losses[i] @ weight), float(job.temperatures[row])
            )
            for i, (job, row) in enumerate(rows)
        ]
        order = sorted(range(len(trials)), key=lambda i: (i != winner, -trials[i].accuracy, trials[i].loss))
        return Selection(
            trials[winner], tuple(trials[i] for i in order), len(numbers), predicted, shares, divisor, fold
        )

    def _rows(self, kept: Set[Setting] | None) -> "list[tuple[_Tried, int]]":
        """Return the settings to choose from: those that keep all classes, or all if none does."""
        rows = [
            (job, row)
            for job in self.tried
            for row, setting in enumerate(job.settings)
            if kept is None or setting in kept
        ]
        return [(job, row) for job, row in rows if job.keeps[row]] or rows


def cross_validate(
    problem: Problem,
    heads: Sequence[Head] = AUTO,
    progress: Progress | None = None,
    *,
    groups: Int64 | None = None,
    deadline: float | None = None,
) -> Selection:
    """Try every setting of every head on held-out samples and choose one: `search` and `Search.choose` in one."""
    return search(problem, heads, progress, groups=groups, deadline=deadline).choose()


def search(
    problem: Problem,
    heads: Sequence[Head] = AUTO,
    progress: Progress | None = None,
    *,
    groups: Int64 | None = None,
    deadline: float | None = None,
) -> "Search":
    """Try every setting of every head on held-out samples.

    Settings that take the source's mean of a class without local samples for another class are left out, unless all do:
    held-out samples cannot tell that such a class is lost. Among the settings whose accuracy is within one standard
    error of the best, the one with the least cross-entropy is chosen: few samples leave many settings level.

    Args:
        problem: Samples in the order of their ids, with source and prior.
        heads: The heads to try, from the cheapest to the dearest.
        progress: Called with the number of steps done and of all; a step is one fold of some settings.
        groups: ``(n,)`` groups of samples that are never on both sides of a split, or None. Of a class that is in one
            group only, single samples are held out all the same: see `assign_folds`.
        deadline: A time of `time.perf_counter`, or None. From then on nothing more is tried, and settings that are not
            through are left out; the first head is always tried.

    Returns:
        What to choose from.
    """
    jobs = jobs_of([(head, eligible(head, problem)) for head in heads])
    fold = assign_folds(problem.y, groups)
    source = np.zeros(problem.k) if problem.source is None else problem.source.count
    fold[~can_judge(problem.y, fold, source > 0)] = -1
    judged = np.flatnonzero(fold >= 0)
    if not len(judged):
        return Search(problem, fold, np.empty(0), [], jobs[0].settings[0])
    means, owners = _missing(problem)
    held = tuple(np.flatnonzero(fold == number) for number in distinct(fold[judged]))
    folds, first, steps = Folds(problem, held, means), jobs[0].parts[0][0], 0
    tried: list[_Tried] = []
    y, weight = problem.y[judged], _weight(problem, judged)
    for job in jobs:
        logits, keeps = _room(len(job.settings), problem), np.ones(len(job.settings), np.bool_)
        late = False
        for rows, found in zip(held, job.logits(folds), strict=True):
            logits[:, rows] = found[:, : len(rows)]
            keeps &= (found[:, len(rows) :].argmax(axis=2) == owners).all(axis=1)
            steps += 1
            if progress is not None:
                progress(steps, len(jobs) * len(held))
            late = deadline is not None and perf_counter() >= deadline and job.parts[0][0] is not first
            if late:
                break
        if late:
            break
        usual = np.array([usual_temperature(setting) for setting in job.settings])
        found_at = best_temperatures(logits[:, judged], y, weight[None], usual)
        tried.append(_Tried(job.settings, logits, keeps, *found_at))
    return Search(problem, fold, weight, tried, jobs[0].settings[0])


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


@record(eq=False)
class _Tried:
    """The settings of a job, the logits they give, which keep all classes, and their calibrated losses if judged."""

    settings: tuple[Setting, ...]
    logits: Float64
    keeps: NDArray[np.bool_]
    temperatures: Float64
    losses: Float64


def _room(size: int, problem: Problem) -> Float64:
    """Return an empty ``(size, n, k)`` array for logits."""
    shape = (size, len(problem.y), problem.k)
    return cast(Float64, np.empty(shape, np.float32 if np.prod(shape) > _MANY else np.float64))


def _weight(problem: Problem, judged: NDArray[np.intp]) -> Float64:
    """Return weights of the judged samples that add up to 1, those of a class to as much as their mean weight."""
    y = problem.y[judged]
    weight = problem.weights[judged] / np.bincount(y, minlength=problem.k)[y]
    result: Float64 = weight / weight.sum()
    return result


def best_row(correct: NDArray[np.bool_], each: Float64, weight: Float64) -> int:
    """Return the row with the least loss among those whose accuracy is about the best; the first of equals."""
    share = weight / weight.sum()
    accuracy = correct @ share
    top = int(accuracy.argmax())
    error = float(np.sqrt((share**2 * (correct[top] - accuracy[top]) ** 2).sum()))
    loss = np.where(accuracy >= accuracy[top] - error - ROUNDING, each @ share, np.inf)
    return int((loss <= loss.min() + ROUNDING).argmax())
