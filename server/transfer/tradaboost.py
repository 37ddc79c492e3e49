"""TrAdaBoost: boosting that trusts source samples less each time the target's learner gets them wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...edge.transfer.checks import check_domains
from ...errors import InputError, LabelError, NotEnoughSamplesError

Float64 = NDArray[np.float64]
Labels = NDArray[Any]
# An error stays so far below what guessing has, and a log weight this far below the greatest counts for nothing.
_BELOW, _FARTHEST = 1e-6, 700.0


class Learner(Protocol):
    """What is boosted: any classifier of scikit-learn that takes sample weights, for one."""

    def fit(self, x: Float64, y: Labels, sample_weight: Float64) -> object:
        """Fit ``(n, d)`` samples with ``(n,)`` labels and weights, which are at least 0 and sum to 1."""

    def predict(self, x: Float64) -> Labels:
        """Return the ``(n,)`` labels of ``(n, d)`` samples."""


@dataclass(frozen=True, eq=False)
class Boosted:
    """What `tradaboost` found.

    Args:
        learners: One per round.
        errors: ``(r,) float64`` each one's weighted error on the target, before it is clipped.
        votes: ``(r,) float64`` what each one's vote counts.
        first: The first learner that votes.
        classes: ``(k,)`` sorted labels.
        source_weights: ``(r + 1, n)`` weights of the source's samples before each round and at the end, 1 at the start;
            sources are stacked. They never rise.
        chosen: ``(r,)`` which source each learner was fitted with; -1 without a source.
    """

    learners: tuple[Learner, ...]
    errors: Float64
    votes: Float64
    first: int
    classes: Labels
    source_weights: Float64
    chosen: NDArray[np.int64]

    def scores(self, x: ArrayLike) -> Float64:
        """Return the ``(n, k)`` shares of the vote, which sum to 1, for ``(n, d)`` samples."""
        rows = np.asarray(x, np.float64)
        result = np.zeros((len(rows), len(self.classes)))
        for learner, vote in zip(self.learners[self.first :], self.votes[self.first :], strict=True):
            result[np.arange(len(rows)), np.searchsorted(self.classes, learner.predict(rows))] += vote
        result /= self.votes[self.first :].sum()
        return result

    def predict(self, x: ArrayLike) -> Labels:
        """Return the ``(n,)`` labels of ``(n, d)`` samples; of equal votes, the first class."""
        result: Labels = self.classes[self.scores(x).argmax(axis=1)]
        return result


def tradaboost(
    learner: Callable[[], Learner],
    sources: Sequence[tuple[ArrayLike, ArrayLike]],
    target: tuple[ArrayLike, ArrayLike],
    *,
    rounds: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Boosted:
    """Boost a learner on labelled samples of the target and of none, one or several sources.

    Dai, Yang, Xue and Yu 2007, "Boosting for transfer learning". A source sample that a round gets wrong is multiplied
    by ``1 / (1 + sqrt(2 ln(n) / rounds))``; a target sample that it gets wrong by ``1 / beta`` with
    ``beta = e / (1 - e)``, e the weighted error on the target alone. The last half of the rounds vote, rounded up. With
    k classes ``ln(1 / beta)`` grows by ``ln(k - 1)`` and e is clipped below ``1 - 1 / k`` (Zhu, Zou, Rosset and Hastie
    2009, "Multi-class AdaBoost"): for two classes this is the paper's, below 1/2. An error of 0 counts as half a
    sample's. With several sources each round fits one learner to the target with each source and keeps the one with
    the least error (Yao and Doretto 2010, "Boosting for transfer learning with multiple sources"). Without a source it
    is SAMME, where all rounds vote, and it ends at an error of 0 or one no better than guessing.

    A class that only a source has stays a class. One that no source has is learnt from the target.

    Args:
        learner: Returns a fresh learner.
        sources: ``(n_i, d)`` samples and ``(n_i,)`` labels of each source.
        target: ``(m, d)`` samples and ``(m,)`` labels.
        rounds: How many, at least 1.
        progress: Told after each round.

    Returns:
        The learners with what they count.

    Raises:
        InputError: If samples are not as `check_domains` asks, labels do not fit them, a source shares no class with
            the target, or the rounds are fewer than 1.
        NotEnoughSamplesError: If there is only one class, or without a source the first learner is no better than
            guessing.
    """
    if rounds < 1:
        raise InputError(f"expected at least 1 round, found {rounds}. 20 is usual.")
    parts, (x, y), classes = _checked(sources, target)
    n = sum(len(part) for part in parts)
    # Of each row, what the logarithm of its weight changes by where a round is wrong; the target's part is the vote.
    change = np.full(len(x), -np.log1p(np.sqrt(2 * np.log(max(n, 1)) / rounds)))
    guess = 1 - 1 / len(classes)
    logarithm = np.zeros(len(x))
    learners: list[Learner] = []
    errors, votes, chosen, history = [], [], [], [logarithm[:n]]
    for done in range(rounds):
        one, wrong, part, error = _best(learner, parts, x, y, n, logarithm)
        if not n and error >= guess:
            break
        vote = _vote(error, guess, 0.5 / (len(x) - n) if n else 0.0)
        change[n:] = vote
        logarithm = logarithm + change * wrong
        learners.append(one)
        errors.append(error)
        votes.append(vote)
        chosen.append(part)
        history.append(logarithm[:n])
        if progress is not None:
            progress(done + 1, rounds)
        if not n and error == 0:
            break
    if not learners:
        raise NotEnoughSamplesError(
            f"expected a learner that is better than guessing on the {len(x)} target samples, found an error of "
            f"{error:.3g}. Give a stronger learner, more samples or a source."
        )
    return Boosted(
        tuple(learners),
        np.array(errors),
        np.array(votes),
        len(learners) // 2 if n else 0,
        classes,
        np.exp(np.array(history)),
        np.array(chosen, np.int64),
    )


def _vote(error: float, guess: float, least: float) -> float:
    """Return ``ln((1 - e) / e) + ln(k - 1)`` of an error clipped to its bounds; 1 for an error of 0."""
    clipped = min(max(error, least), guess - _BELOW)
    return float(np.log((1 - clipped) / clipped) + np.log(guess / (1 - guess))) if clipped else 1.0


def _best(
    learner: Callable[[], Learner],
    parts: Sequence[NDArray[np.intp]],
    x: Float64,
    y: Labels,
    first_target: int,
    logarithm: Float64,
) -> tuple[Learner, NDArray[np.bool_], int, float]:
    """Fit the target with each source, and return the learner with the least error on the target, the first of equals.

    Returns:
        The learner, what it gets wrong of all rows, which source it was, and its error.
    """
    own = np.arange(first_target, len(x))
    weight = np.exp(np.maximum(logarithm - logarithm.max(), -_FARTHEST))
    candidates = []
    for index, part in enumerate(parts) if parts else [(-1, own[:0])]:
        rows = np.concatenate([part, own])
        one = learner()
        one.fit(x[rows], y[rows], sample_weight=weight[rows] / weight[rows].sum())
        wrong = np.asarray(one.predict(x) != y)
        error = float(weight[own] @ wrong[own] / weight[own].sum())
        candidates.append((error, index, one, wrong))
    error, index, one, wrong = min(candidates, key=lambda found: found[0])
    return one, wrong, index, error


def _checked(
    sources: Sequence[tuple[ArrayLike, ArrayLike]], target: tuple[ArrayLike, ArrayLike]
) -> tuple[list[NDArray[np.intp]], tuple[Float64, Labels], Labels]:
    """Return the rows of each source, all samples and labels with the target last, and the classes."""
    own = check_domains(target[0], target[0])[1]
    samples = [check_domains(x, own)[0] for x, _ in sources]
    labels = [_labels(y, len(x), f"source {i}") for i, (x, (_, y)) in enumerate(zip(samples, sources, strict=True))]
    wanted = _labels(target[1], len(own), "target")
    for index, found in enumerate(labels):
        if not len(np.intersect1d(found, wanted)):
            raise LabelError(
                f"expected source {index} and the target to share classes, found {np.unique(found)[:5].tolist()} and "
                f"{np.unique(wanted)[:5].tolist()}. Give both the same names for the same classes."
            )
    ends = np.cumsum([0, *map(len, samples)])
    parts = [np.arange(start, stop) for start, stop in pairwise(ends)]
    y = np.concatenate([*labels, wanted])
    classes = np.unique(y)
    if len(classes) < 2:
        raise NotEnoughSamplesError(f"expected at least two classes, found only {classes[0]!r}. Label another.")
    return parts, (np.vstack([*samples, own]), y), classes


def _labels(labels: ArrayLike, n: int, side: str) -> Labels:
    result = np.asarray(labels)
    if result.shape != (n,):
        raise LabelError(f"expected {n} labels of the {side}, one per sample, found shape {result.shape}.")
    if result.dtype.kind not in "biuSU":
        raise LabelError(f"expected labels of the {side} as whole numbers or text, found type {result.dtype}.")
    return result
