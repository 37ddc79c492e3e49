"""Whether a model treats groups alike: rates of each group, how far they lie apart, and whether chance explains it.

A rate of no samples is NaN, "not known": a group without a sample of a class has no recall of it. It is not 0, as some
libraries say, which would make the group the worst treated of all for having no such sample. Such a group is left out
of the gap of that rate and named in `Gap.unknown`; where fewer than two groups are left, the gap is NaN.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...record import record
from ..checks import DECODE
from .shares import Share

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Labels = Sequence[Any] | NDArray[Any]


@record()
class Gap:
    """How far groups lie apart in a rate.

    Args:
        difference: Greatest rate less the least, 0 to 1; NaN where fewer than two groups have the rate.
        ratio: The least by the greatest, 0 to 1; NaN likewise, and where all are 0.
        chance: Probability of a difference as large, were groups given to samples by lot: small groups lie apart by
            chance. NaN where there is no difference to explain.
        unknown: Groups that have no such rate, and are left out.
    """

    difference: float
    ratio: float
    chance: float
    unknown: tuple[str, ...] = ()


@record()
class ClassFairness:
    """Rates of one class against all others.

    Args:
        label: The class.
        selection: Of each group, the share that is predicted to be of the class.
        recall: Of each group's samples of the class, the share predicted so (true positives).
        false_positive: Of each group's other samples, the share predicted so.
        demographic_parity: Of the selection rates.
        equal_opportunity: Of the recalls.
        equalized_odds: The wider gap of recall and false positives, and the lower ratio.
    """

    label: str
    selection: tuple[Share, ...]
    recall: tuple[Share, ...]
    false_positive: tuple[Share, ...]
    demographic_parity: Gap
    equal_opportunity: Gap
    equalized_odds: Gap


@record()
class Fairness:
    """How a model treats groups.

    Args:
        groups: Names of the groups, sorted.
        accuracy: Of each group.
        accuracy_gap: Of the accuracies.
        classes: Of each class against all others.
    """

    groups: tuple[str, ...]
    accuracy: tuple[Share, ...]
    accuracy_gap: Gap
    classes: tuple[ClassFairness, ...]

    @property
    def samples(self) -> tuple[int, ...]:
        """Samples of each group."""
        return tuple(share.samples for share in self.accuracy)


def group_fairness(
    truth: Labels,
    predicted: Labels,
    groups: Labels,
    *,
    classes: Sequence[Any] | None = None,
    draws: int = 2_000,
    seed: int = 0,
) -> Fairness:
    """Measure how a model treats groups.

    Demographic parity and equalized odds are between groups: the greatest rate against the least (Agarwal et al. 2018,
    "A Reductions Approach to Fair Classification"; Hardt, Price and Srebro 2016, "Equality of Opportunity in Supervised
    Learning"). Of more than two classes each is asked against all others.

    Args:
        truth: ``n`` classes. Whole numbers are one class whatever their type: 1 is 1.0 and True.
        predicted: ``n`` classes.
        groups: ``n`` groups.
        classes: The classes to ask about, for example the one that is an advantage; None for all that there are.
        draws: How often groups are given by lot, for `Gap.chance`; 0 for NaN there.
        seed: Fixes these draws.

    Returns:
        The rates. A group of one sample has rates of 0 or 1, with intervals that say how little that is.

    Raises:
        InputError: If lengths differ, there are no samples, there are fewer than two groups, a class or group is NaN, a
            class that is asked about is none of these, or draws or seed are below 0.
    """
    y, found, of = (np.asarray(_named(values)) for values in (truth, predicted, groups))
    if not len(y) == len(found) == len(of) or not len(y):
        raise InputError(
            f"expected as many classes, predictions and groups, at least one of each, found {len(y)}, {len(found)} and "
            f"{len(of)}. Give each sample one of each."
        )
    for value, what in ((draws, "draws"), (seed, "a seed")):
        if value < 0:
            raise InputError(f"expected {what} of 0 or more, found {value}. Leave it out for the default.")
    names, group = np.unique(of, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"expected samples of at least two groups, found {str(names[0])!r} alone. Name the others.")
    known = sorted({*y.tolist(), *found.tolist()})
    labels = known if classes is None else _named(classes)
    if missing := [label for label in labels if label not in known]:
        raise InputError(
            f"expected classes that samples have or are predicted to have, found {missing[0]!r}. There are "
            f"{', '.join(known[:12])}{', ...' if len(known) > 12 else ''}."
        )
    told, lot = tuple(str(name) for name in names), np.random.default_rng(seed)
    right = found == y
    accuracy = _shares(right, np.ones(len(y), np.bool_), group, len(names))
    gaps = _gap(accuracy, told, _by_lot(accuracy, draws, lot))
    parts = tuple(_of_class(label, y == label, found == label, group, told, draws, lot) for label in labels)
    return Fairness(told, accuracy, gaps, parts)


def _named(values: Labels) -> list[str]:
    found = []
    for one in values:
        if isinstance(one, bool | np.bool_):
            # Predictions are often booleans where the truth is 0 and 1, as with fairlearn and scikit-learn.
            one = int(one)
        if isinstance(one, float | np.floating):
            if not math.isfinite(one):
                raise InputError(f"expected classes and groups, found {one}. Leave out samples that have none.")
            # Predictions are often floats where the truth is integers.
            one = int(one) if one == int(one) else one
        if isinstance(one, bytes):
            raise InputError(f"expected classes and groups as texts or numbers, found bytes: {one!r:.80}. {DECODE}")
        found.append(str(one))
    return found


def _of_class(
    label: str, own: Bools, taken: Bools, group: Ints, names: tuple[str, ...], draws: int, lot: np.random.Generator
) -> ClassFairness:
    k = len(names)
    selection = _shares(taken, np.ones(len(own), np.bool_), group, k)
    recall, false = _shares(taken, own, group, k), _shares(taken, ~own, group, k)
    of_recall, of_false = _by_lot(recall, draws, lot), _by_lot(false, draws, lot)
    opportunity, wrong = _gap(recall, names, of_recall), _gap(false, names, of_false)
    return ClassFairness(
        label,
        selection,
        recall,
        false,
        _gap(selection, names, _by_lot(selection, draws, lot)),
        opportunity,
        _wider(opportunity, wrong, of_recall, of_false),
    )


def _shares(hit: Bools, among: Bools, group: Ints, k: int) -> tuple[Share, ...]:
    hits, all_of = np.bincount(group[hit & among], minlength=k), np.bincount(group[among], minlength=k)
    return tuple(Share(int(a), int(b)) for a, b in zip(hits, all_of, strict=True))


def _by_lot(shares: Sequence[Share], draws: int, lot: np.random.Generator) -> NDArray[np.float64]:
    """Return the ``(draws,)`` differences with groups given by lot: only the counts matter, and these are drawn."""
    sizes = np.array([share.samples for share in shares if share.samples])
    if len(sizes) < 2 or not draws:
        return np.empty(0)
    hits = lot.multivariate_hypergeometric(sizes, sum(share.hits for share in shares), size=draws)
    rates = hits / sizes
    result: NDArray[np.float64] = rates.max(axis=1) - rates.min(axis=1)
    return result


def _gap(shares: Sequence[Share], names: Sequence[str], drawn: NDArray[np.float64]) -> Gap:
    known = [share.value for share in shares if share.samples]
    unknown = tuple(name for name, share in zip(names, shares, strict=True) if not share.samples)
    if len(known) < 2:
        return Gap(math.nan, math.nan, math.nan, unknown)
    high, low = max(known), min(known)
    return Gap(high - low, low / high if high else math.nan, _chance(high - low, drawn), unknown)


def _wider(one: Gap, other: Gap, drawn: NDArray[np.float64], drawn_other: NDArray[np.float64]) -> Gap:
    unknown = tuple(dict.fromkeys((*one.unknown, *other.unknown)))
    if math.isnan(one.difference) or math.isnan(other.difference):
        # Odds are both rates: of one alone, nothing is said.
        return Gap(math.nan, math.nan, math.nan, unknown)
    difference = max(one.difference, other.difference)
    # Where a rate is 0 in every group, all are treated alike by it: the other rate tells.
    ratio = min((gap.ratio for gap in (one, other) if not math.isnan(gap.ratio)), default=math.nan)
    both = np.maximum(drawn, drawn_other) if len(drawn) == len(drawn_other) else np.empty(0)
    return Gap(difference, ratio, _chance(difference, both), unknown)


def _chance(difference: float, drawn: NDArray[np.float64]) -> float:
    if not len(drawn) or difference == 0:
        return math.nan
    # What was found is one of the draws that are possible: never 0.
    return float((1 + np.sum(drawn >= difference - 1e-12)) / (1 + len(drawn)))
