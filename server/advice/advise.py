"""Advice on arrays: measure, compare, judge."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from ...edge.transfer.label_shift import estimate_prior
from ...edge.transfer.shift_test import shift_test
from ...errors import InputError
from .advice import Advice, Candidate, Shift
from .given import Given, Labels, check_given
from .head import fit_linear
from .held_out import LEAST_JUDGED, HeldOut, hold_out
from .judge import LEVEL, judge
from .method import BALANCED, POOL, TARGET_ONLY
from .methods import METHODS
from .pair import Float64, Pair
from .relation import relation
from .unlabelled import home_answers, validate
from .words import said_by_labels, said_by_validators, situation

Progress = Callable[[int, int], None]
_QUANTILE = 1.959964
# Fewer target samples than this show no shift at its level.
_LEAST_FOR_SHIFT = 5
_DRAWN = 5.0


def advise(
    source_x: ArrayLike,
    source_y: Labels,
    target_x: ArrayLike,
    target_y: Labels | None = None,
    *,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
    seed: int = 0,
    progress: Progress | None = None,
) -> Advice:
    """Say which way of transfer suits a source and a target, or that none does.

    With enough labelled target samples, methods are compared by cross-validation over these alone, and transfer is
    recommended where the source's labels have something to do with the target's, and a gain is shown or harm excluded
    (see `acclimate.server.advice.judge`); with too few, validators rank methods, and the advice says how little that
    is. The same arguments give the same advice.

    Args:
        source_x: ``(n, d)`` features of the source.
        source_y: ``n`` labels, texts or whole numbers; samples without one are left out.
        target_x: ``(m, d)`` features of the target.
        target_y: ``m`` labels; None, an empty text, -1 or NaN for a sample without one. None if no sample has one.
        groups: ``(m,)`` what target samples belong to, such as recordings: of a group, all are held out together.
        level: Chance of error of the bound on the gain, above 0 to 0.5.
        seed: Fixes folds and draws.
        progress: Called with the number of fits done and of all.

    Returns:
        The advice.

    Raises:
        InputError: If samples are no such arrays or not finite, widths differ, all features are constant, or the
            source is but a part of the target.
        LabelError: If labels are not one for each sample, or the sides share no class.
        NotEnoughSamplesError: If the source has labelled samples of less than two classes.
    """
    if not 0 < level <= 0.5:
        raise InputError(f"expected a level above 0, at most 0.5, found {level}. 0.05 is usual.")
    given = check_given(source_x, source_y, target_x, target_y, groups=groups, seed=seed)
    pair = given.pair
    home = home_answers(pair)
    home_accuracy = float((home.argmax(axis=1) == pair.source_y).mean())
    shift = _shift(pair, seed)
    mix = _mix(pair)
    held = None
    counts = np.bincount(pair.target_y, minlength=pair.k)
    if int(counts[counts > 1].sum()) >= LEAST_JUDGED and (counts > 0).sum() > 1:
        found = hold_out(pair, METHODS, given.groups, progress)
        if {TARGET_ONLY, POOL, BALANCED} <= found.probabilities.keys() and len(np.unique(found.group)) >= LEAST_JUDGED:
            held = found
    told = situation(given, home_accuracy, shift, mix)
    if held is None:
        return _by_validators(given, told, home, home_accuracy, shift, mix, progress)
    verdict = judge(held, relation(pair, held, seed), level=level, seed=seed)
    why, harm = said_by_labels(verdict, held, level)
    return Advice(
        recommended=verdict.chosen if verdict.transfer else None,
        why=(*why, *told),
        basis="labels",
        harm=harm,
        gain=verdict.gain.mean,
        gain_low=verdict.gain.low,
        gain_high=verdict.gain.high,
        accuracy_gain=verdict.accuracy_gain,
        related=verdict.related,
        home_accuracy=home_accuracy,
        shift=shift,
        classes=given.classes,
        source_counts=given.source_counts,
        target_counts=given.target_counts,
        unlabelled=given.unlabelled,
        mix=mix,
        width=given.width,
        candidates=_candidates(held, verdict.brier),
        notes=_notes(given, held),
    )


def _by_validators(
    given: Given,
    told: tuple[str, ...],
    home: Float64,
    home_accuracy: float,
    shift: Shift | None,
    mix: tuple[float, ...] | None,
    progress: Progress | None,
) -> Advice:
    found = validate(given.pair, METHODS, home, progress)
    recommended, why = said_by_validators(found, home_accuracy, given)
    rows = [Candidate(one.name, one.family, way_back=found.way_back.get(one.name)) for one in METHODS]
    compared = [one for one in rows if one.way_back is not None]
    others = [Candidate(one.name, one.family, why_not=found.refused[one.name]) for one in rows if one.way_back is None]
    return Advice(
        recommended=recommended,
        why=(*why, *told),
        basis="validators",
        harm="unknown",
        gain=None,
        gain_low=None,
        gain_high=None,
        accuracy_gain=None,
        related=None,
        home_accuracy=home_accuracy,
        shift=shift,
        classes=given.classes,
        source_counts=given.source_counts,
        target_counts=given.target_counts,
        unlabelled=given.unlabelled,
        mix=mix,
        width=given.width,
        candidates=(*sorted(compared, key=lambda one: -(one.way_back or 0.0)), *others),
        notes=given.notes,
    )


def _shift(pair: Pair, seed: int) -> Shift | None:
    if len(pair.target) < _LEAST_FOR_SHIFT:
        return None
    found = shift_test(pair.source_x, pair.target, seed=seed)
    return Shift(found.statistic, found.p_value, found.shifted, found.level)


def _mix(pair: Pair) -> tuple[float, ...] | None:
    """Return the target's mix of classes, as the source's classifier sees it."""
    if len(pair.target) < _LEAST_FOR_SHIFT:
        return None
    home = np.bincount(pair.source_y, minlength=pair.k)
    answers = fit_linear(pair.source_x, pair.source_y, pair.k)(pair.target)
    return tuple(estimate_prior(answers, home, drawn=_DRAWN).prior.tolist())


def _candidates(held: HeldOut, scores: dict[str, float]) -> tuple[Candidate, ...]:
    compared, others = [], []
    for method in METHODS:
        if method.name not in held.probabilities:
            others.append(Candidate(method.name, method.family, why_not=held.refused[method.name]))
            continue
        answers = held.probabilities[method.name]
        right = float((answers.argmax(axis=1) == held.y).mean())
        low, high = wilson(right, len(held.y))
        compared.append(Candidate(method.name, method.family, right, low, high, scores[method.name]))
    return (*sorted(compared, key=lambda one: one.brier or 0.0), *others)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of n (Wilson 1927, "Probable inference, the law of succession")."""
    square = _QUANTILE**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _QUANTILE / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _notes(given: Given, held: HeldOut) -> tuple[str, ...]:
    left = len(given.pair.target_y) - len(held.rows)
    if not left:
        return given.notes
    return (*given.notes, f"{left} labelled target samples are the only ones of their class: learnt from, never judged")
