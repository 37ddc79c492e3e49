"""The accuracy to expect of a head that is adapted to some labelled latents, with its interval."""

import numpy as np
from numpy.typing import ArrayLike

from ...latent import LatentCode
from ...record import record
from ..adaptation.coordinates import embed
from ..adaptation.folds import FOLDS, assign_folds
from ..heads import LDA, Problem, Prototype
from ..heads.held_out import Folds
from ..heads.jobs import jobs_of
from .checks import Float64, Int64, check_classes, check_latents

# Heads in closed form, which are fitted hundreds of times in the time that one other takes.
_HEADS = (Prototype(), LDA())
# Times that all samples are dealt to folds anew; Student's 97.5 % quantile for as many folds, less one.
_REPEATS, _T = 5, 2.064
# Of what accuracy gains from half of the samples to four fifths of them, the part that the last fifth adds: where the
# error falls as one over the number of samples, (5/4 - 1) / (2 - 5/4).
_LAST_FIFTH = 1 / 3
# Of more samples the interval is narrow in any case, and dealing twice does.
_MANY, _REPEATS_OF_MANY, _T_OF_MANY = 2_000, 2, 2.262


@record()
class ExpectedAccuracy:
    """How many of fresh samples of the same place a head will get right that is fitted on all samples given.

    Args:
        accuracy: Share of held-out samples that heads get right which are fitted without them, for as many samples as
            there are.
        low: Lower end of the 95 % interval.
        high: Upper end.
        samples: Number of samples.
        largest_class: Share of the largest class, which guessing it would get right.
    """

    accuracy: float
    low: float
    high: float
    samples: int
    largest_class: float


def expected_accuracy(latents: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> ExpectedAccuracy:
    """Estimate the accuracy after adapting a head to samples, by repeated stratified cross-validation.

    The samples are dealt to five folds five times. Of each fold, the head (nearest mean, or discriminant analysis at
    one of seven strengths, both in closed form on 8-bit latents as a device stores them) is the one that does best on
    the *other* folds, so that neither its fit nor its choice has seen the samples that it is judged on. Variance:
    Nadeau and Bengio 2003, "Inference for the generalization error", ``(1/J + 1/4) S^2`` over J folds, since folds
    share training samples. Interval: Wilson 1927's at the number of samples that this variance stands for, so that it
    stays within 0 and 1 and keeps a width where every sample was right.

    A head is trained on four fifths of the samples each time. What the last fifth adds is a third of what it gains from
    half of them, dealt likewise, to four fifths: so where the error falls as one over the number of samples.

    What a shipped head or source statistics would add is not in it. Samples are taken as independent: frames of one
    recording, or the same frame twice, make it too high.

    Args:
        latents: ``(n, d)``.
        labels: ``n`` whole numbers or texts, at least two classes with at least two samples each.
        seed: Deals the samples.

    Raises:
        InputError: If latents are not finite numbers ``(n, d)``.
        LabelError: If labels do not fit, or are all of one class.
        NotEnoughSamplesError: If a class has one sample only, with which it cannot be judged.
    """
    x = check_latents(latents).astype(np.float32)
    y, k = check_classes(labels, len(x), least=2)
    code = LatentCode.fit(x)
    problem = Problem(embed(code.encode(x), None, None, code)[1], y, k)
    repeats, t = (_REPEATS, _T) if len(y) <= _MANY else (_REPEATS_OF_MANY, _T_OF_MANY)
    rng, found, halved = np.random.default_rng(seed), [], []
    for _ in range(repeats):
        order, fold, half = rng.permutation(len(y)), np.empty(len(y), np.int64), np.empty(len(y), np.int64)
        fold[order] = assign_folds(y[order])
        found.append(_by_fold(_right(problem, fold), fold))
        half[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % 2
        halved.append(_by_fold(_right(problem, half), half))
    sizes, right = np.concatenate(found).T
    of_four_fifths, of_half = float(right.sum() / sizes.sum()), float(np.concatenate(halved)[:, 1].sum() / sizes.sum())
    accuracy = min(max(of_four_fifths + _LAST_FIFTH * (of_four_fifths - of_half), 0.0), 1.0)
    effective = _effective(of_four_fifths, float((right / sizes).var(ddof=1)), len(sizes), len(y))
    low, high = _wilson(accuracy, effective, t)
    return ExpectedAccuracy(accuracy, low, high, len(y), float(np.bincount(y).max() / len(y)))


def _right(problem: Problem, fold: Int64) -> Float64:
    """Return ``(s, n)`` whether the head of each setting, fitted without a sample's fold, gets the sample right."""
    held = tuple(np.flatnonzero(fold == number) for number in np.unique(fold))
    folds, found = Folds(problem, held, np.empty((0, problem.x.shape[1]))), []
    for job in jobs_of([(head, head.settings(problem)) for head in _HEADS]):
        right = np.empty((len(job.settings), len(fold)))
        for rows, logits in zip(held, job.logits(folds), strict=True):
            right[:, rows] = logits.argmax(axis=2) == problem.y[rows]
        found.append(right)
    return np.concatenate(found)


def _by_fold(right: Float64, fold: Int64) -> Float64:
    """Return ``(f, 2)``: samples of each fold, and how many of them the setting gets right that others choose."""
    total, found = right.sum(axis=1), []
    for number in np.unique(fold):
        own = right[:, fold == number]
        found.append((own.shape[1], own[(total - own.sum(axis=1)).argmax()].sum()))
    return np.array(found, np.float64)


def _effective(accuracy: float, variance: float, folds: int, n: int) -> float:
    """Return how many independent samples the corrected variance of the mean over folds stands for.

    At most as many as folds of independent samples would leave: where folds differ less than chance has it, that is
    luck.
    """
    correction = 1 / folds + 1 / (FOLDS - 1)
    most = n / (FOLDS * correction)
    return max(min(most, accuracy * (1 - accuracy) / (correction * variance)), 1.0) if variance > 0 else most


def _wilson(accuracy: float, n: float, t: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of n samples."""
    centre = (accuracy + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * np.sqrt(accuracy * (1 - accuracy) / n + t**2 / (4 * n**2))
    return float(max(min(centre - half, accuracy), 0)), float(min(max(centre + half, accuracy), 1))
