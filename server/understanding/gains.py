"""What an adapted model gains and loses against the one it came from, class by class, on the same held-out samples.

Intervals are of paired samples: each is asked what both models say of it. Shares of the cells "right before", "right
after" and so on are drawn from their posterior (a Dirichlet distribution, half a sample added to each cell: for
accuracy nearly the interval of Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
proportions"), and each figure is computed of every draw. So figures that are no shares, such as F1, have intervals too,
and a figure without a single mistake is not taken for certain.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
# Samples added to each cell.
_ADDED = 0.5


@dataclass(frozen=True)
class Change:
    """A figure before and after.

    Args:
        before: Of the model before; NaN where it is not known, as the precision of a class that is never predicted.
        after: Likewise, after.
        low: Lower end of the 95 % interval of the difference; NaN where that is not known.
        high: Upper end.
    """

    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def told(self) -> bool:
        """Whether the interval leaves 0 out: the difference is more than chance explains."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ClassGain:
    """What changed for one class.

    Args:
        label: The class.
        samples: Held-out samples of it.
        gained: Of these, how many only the model after gets right.
        lost: How many only the model before gets right.
        recall: Share of the samples of the class that are predicted so.
        precision: Share of the samples predicted so that are of the class.
        f1: Harmonic mean of both.
    """

    label: str
    samples: int
    gained: int
    lost: int
    recall: Change
    precision: Change
    f1: Change


@dataclass(frozen=True)
class Gains:
    """What changed.

    Args:
        samples: Held-out samples.
        gained: How many only the model after gets right.
        lost: How many only the model before gets right.
        accuracy: Share that is right.
        balanced: Mean recall of the classes that have samples.
        macro_f1: Mean F1 of the classes that have samples, 0 for one that is never predicted. Its interval takes
            classes for independent of each other, which they nearly are where there are several.
        classes: Of each class that has samples or is predicted, in the order of their names.
        confusion_before: One row per class as in `classes`, one column per predicted one.
        confusion_after: Likewise.
    """

    samples: int
    gained: int
    lost: int
    accuracy: Change
    balanced: Change
    macro_f1: Change
    classes: tuple[ClassGain, ...]
    confusion_before: tuple[tuple[int, ...], ...]
    confusion_after: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not known becomes None."""
        found = asdict(self)
        plain: dict[str, Any] = known(found)
        return plain


def compare_models(
    truth: Sequence[Any] | NDArray[Any],
    before: Sequence[Any] | NDArray[Any],
    after: Sequence[Any] | NDArray[Any],
    *,
    draws: int = 4_000,
    seed: int = 0,
) -> Gains:
    """Compare what two models predict for the same samples, which neither was fitted on.

    Args:
        truth: ``n`` classes.
        before: ``n`` predictions of the model before.
        after: ``n`` predictions of the model after.
        draws: Draws for the intervals, at least 100.
        seed: Fixes them.

    Returns:
        The changes. Samples are taken for independent: of frames of one burst the intervals are too narrow.

    Raises:
        InputError: If lengths differ, or there are no samples.
    """
    y, one, two = (np.array([str(label) for label in labels]) for labels in (truth, before, after))
    if not len(y) or not len(y) == len(one) == len(two) or draws < 100:
        raise InputError(
            f"expected as many labels as predictions before and after, at least one, and 100 draws or more, found "
            f"{len(y)}, {len(one)}, {len(two)} and {draws}."
        )
    names = sorted({*y.tolist(), *one.tolist(), *two.tolist()})
    lot = np.random.default_rng(seed)
    classes, recalls, scores = [], [], []
    for name in names:
        found, drawn_recall, drawn_f1 = _of_class(name, y == name, one == name, two == name, lot, draws)
        classes.append(found)
        if found.samples:
            recalls.append(drawn_recall)
            scores.append(drawn_f1)
    held = [part for part in classes if part.samples]
    right_before, right_after = one == y, two == y
    drawn = _drawn((right_before, right_after), lot, draws)
    accuracy = _change(
        float(right_before.mean()), float(right_after.mean()), drawn[:, :, 1].sum(axis=1) - drawn[:, 1].sum(axis=1)
    )
    balanced = _mean_of([part.recall for part in held], recalls)
    macro = _mean_of([part.f1 for part in held], scores)
    return Gains(
        len(y),
        int((right_after & ~right_before).sum()),
        int((right_before & ~right_after).sum()),
        accuracy,
        balanced,
        macro,
        tuple(classes),
        _confusion(y, one, names),
        _confusion(y, two, names),
    )


def known(values: Any) -> Any:
    """Return plain values with None for every number that is not finite."""
    if isinstance(values, dict):
        return {name: known(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [known(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _of_class(
    name: str, own: Bools, one: Bools, two: Bools, lot: np.random.Generator, draws: int
) -> tuple[ClassGain, Float64, Float64]:
    """Return what changed for a class, and drawn differences of its recall and its F1."""
    cells = _drawn((own, one, two), lot, draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = [_figures(own, said) for said in (one, two)]
        drawn = [_drawn_figures(cells.sum(axis=3)), _drawn_figures(cells.sum(axis=2))]
    changes = [_change(a, b, d[1] - d[0]) for a, b, d in zip(*figures, zip(*drawn, strict=True), strict=True)]
    gain = ClassGain(
        name,
        int(own.sum()),
        int((own & two & ~one).sum()),
        int((own & one & ~two).sum()),
        *changes,
    )
    return gain, drawn[1][0] - drawn[0][0], drawn[1][2] - drawn[0][2]


def _figures(own: Bools, said: Bools) -> tuple[float, float, float]:
    """Return recall, precision and F1; NaN where there is nothing to divide by."""
    hits, samples, answers = int((own & said).sum()), int(own.sum()), int(said.sum())
    recall = hits / samples if samples else math.nan
    precision = hits / answers if answers else math.nan
    f1 = 2 * hits / (samples + answers) if samples + answers else math.nan
    return recall, precision, f1


def _drawn_figures(table: Float64) -> tuple[Float64, Float64, Float64]:
    """Return the same of drawn shares ``(draws, 2, 2)``: of the class, and said so."""
    hits = table[:, 1, 1]
    samples, answers = table[:, 1].sum(axis=1), table[:, :, 1].sum(axis=1)
    return hits / samples, hits / answers, 2 * hits / (samples + answers)


def _drawn(told: tuple[Bools, ...], lot: np.random.Generator, draws: int) -> Float64:
    """Draw the shares of the cells of a table with an axis for each of what is told, false first."""
    k = len(told)
    place = sum((part.astype(np.int64) << (k - 1 - i) for i, part in enumerate(told)), np.zeros(len(told[0]), np.int64))
    counts = np.bincount(place, minlength=2**k) + _ADDED
    return lot.dirichlet(counts, draws).reshape(draws, *(2,) * k)


def _change(before: float, after: float, drawn: Float64) -> Change:
    if math.isnan(before) or math.isnan(after):
        return Change(before, after, math.nan, math.nan)
    low, high = np.quantile(drawn, (0.025, 0.975))
    # Of a handful of samples the posterior's bulk may lie beside what was counted.
    return Change(before, after, min(float(low), after - before), max(float(high), after - before))


def _mean_of(changes: Sequence[Change], drawn: Sequence[Float64]) -> Change:
    if not changes:
        return Change(math.nan, math.nan, math.nan, math.nan)
    before, after = (float(np.mean([getattr(c, when) for c in changes])) for when in ("before", "after"))
    return _change(before, after, np.mean(drawn, axis=0))


def _confusion(y: NDArray[np.str_], said: NDArray[np.str_], names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    k = len(names)
    places = np.searchsorted(names, y) * k + np.searchsorted(names, said)
    return tuple(map(tuple, np.bincount(places, minlength=k * k).reshape(k, k).tolist()))
