"""Tables of what adapting changed, for the page and for people at a terminal."""

import math
from collections.abc import Sequence
from typing import Protocol

from ...edge.understanding.fairness import Fairness, Gap
from ...edge.understanding.shares import Share
from ..report import Cell, Column, Table
from .efficiency import Saving
from .gains import Change, ClassGain, Gains
from .place_figures import PlaceGains

_MOST_ROWS, _MOST_GAPS = 100, 30


class Timed(Protocol):
    """What labelling a sample and looking at it take, in seconds."""

    @property
    def seconds_per_label(self) -> float:
        """As it was given; 0 where it was not."""

    @property
    def seconds_per_look(self) -> float:
        """Measured."""


def change_text(change: Change, *, points: bool = True) -> str:
    """Return a difference with its interval, in percentage points or as it is."""
    if math.isnan(change.low):
        return "not known"
    by, form = (100, "+.1f") if points else (1, "+.3f")
    return f"{by * change.difference:{form}} ({by * change.low:{form}} to {by * change.high:{form}})"


def recall_table(gains: Gains) -> Table:
    """Return recall of each class before and after, the largest changes alone where there are very many classes."""
    columns = (
        Column("class"),
        Column("samples", ","),
        Column("recall before", ".1%"),
        Column("after", ".1%"),
        Column("points (95 %)"),
        Column("gained", ","),
        Column("lost", ","),
    )
    shown, note = _shown(gains)
    rows = tuple(
        (
            one.label,
            one.samples,
            _share(one.recall.before),
            _share(one.recall.after),
            change_text(one.recall),
            one.gained,
            one.lost,
        )
        for one in shown
    )
    told = "Gained: samples that only the model after gets right. Lost: only the one before."
    return Table("Recall", columns, rows, f"{note}{told}")


def score_table(gains: Gains) -> Table:
    """Return precision and F1 of each class before and after, of the classes of `recall_table`."""
    columns = (
        Column("class"),
        Column("precision before", ".1%"),
        Column("after", ".1%"),
        Column("points (95 %)"),
        Column("F1 before", ".3f"),
        Column("after", ".3f"),
        Column("difference (95 %)"),
    )
    shown, note = _shown(gains)
    rows = tuple(
        (
            one.label,
            _share(one.precision.before),
            _share(one.precision.after),
            change_text(one.precision),
            _share(one.f1.before),
            _share(one.f1.after),
            change_text(one.f1, points=False),
        )
        for one in shown
    )
    return Table("Precision and F1", columns, rows, note)


def saving_table(found: PlaceGains) -> Table:
    """Return labels and time for the same accuracy with transfer and without."""
    rows = [(one, one.accuracy, found.seconds(one)) for one in found.savings]
    return labels_table("For the same accuracy", Column("accuracy", ".1%"), rows, found)


def labels_table(
    title: str, score: Column, saved: Sequence[tuple[Saving, Cell, tuple[float, float]]], found: Timed
) -> Table:
    """Return labels and time for the same score with transfer and without.

    Args:
        title: Of the table.
        score: Column of the score.
        saved: One or more savings, with the score that is reached, and the seconds with transfer and without.
        found: What labelling and looking took.
    """
    columns = (
        Column("labels", ","),
        score,
        Column("labels without transfer"),
        Column("times as many"),
        Column("lowest"),
        Column("highest"),
        Column("time"),
        Column("time without"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            one.labels,
            reached,
            labels_text(one.typical, one.most, one.least),
            *(
                labels_text(value, one.most / one.labels, one.least / one.labels, ".1f")
                for value in (one.factor, *one.spread)
            ),
            *map(time_text, seconds),
        )
        for one, reached, seconds in saved
    )
    asked = f"{found.seconds_per_label:g} s to label a sample, " if found.seconds_per_label else ""
    note = (
        f"Median, lowest and highest of {len(saved[0][0].needed)} draws of the stored samples, each against itself. "
        f"Time: {asked}{1000 * found.seconds_per_look:.2g} ms to look at it, and the fit."
    )
    return Table(title, columns, rows, note)


def group_table(name: str, before: tuple[Share, ...], after: tuple[Share, ...], groups: tuple[str, ...]) -> Table:
    """Return a rate of each group before and after, with its interval."""
    columns = (Column("group"), Column("samples", ","), Column("before"), Column("after"))
    rows = tuple(
        (group, one.samples, _share_text(one), _share_text(two))
        for group, one, two in zip(groups, before, after, strict=True)
    )
    return Table(name, columns, rows, "In brackets the 95 % interval of the group's own rate.")


def gap_table(before: Fairness, after: Fairness) -> Table:
    """Return how far groups lie apart before and after."""
    columns = (
        Column("class"),
        Column("gap"),
        Column("before", ".1%"),
        Column("after", ".1%"),
        Column("ratio before", ".2f"),
        Column("after", ".2f"),
        Column("chance after", ".3f"),
        Column("groups left out", wraps=True),
    )
    pairs: list[tuple[str, str, Gap, Gap]] = [("all", "accuracy", before.accuracy_gap, after.accuracy_gap)]
    by_label = {part.label: part for part in before.classes}
    for part in after.classes[:_MOST_GAPS]:
        was = by_label.get(part.label, part)
        pairs += [
            (part.label, "demographic parity", was.demographic_parity, part.demographic_parity),
            (part.label, "equal opportunity", was.equal_opportunity, part.equal_opportunity),
            (part.label, "equalized odds", was.equalized_odds, part.equalized_odds),
        ]
    rows = tuple(
        (
            label,
            what,
            *map(_share, (was.difference, now.difference, was.ratio, now.ratio)),
            "" if math.isnan(now.chance) else now.chance,
            ", ".join(now.unknown),
        )
        for label, what, was, now in pairs
    )
    note = (
        "Difference and ratio of the greatest and the least rate. Chance: how often groups by lot lie as far apart. "
        "Left out: groups without a sample that would tell."
    )
    return Table("How far groups lie apart", columns, rows, note)


def _shown(gains: Gains) -> tuple[list[ClassGain], str]:
    """Return the classes to show, and what is said of those that are not."""
    if len(gains.classes) <= _MOST_ROWS:
        return list(gains.classes), ""
    known = sorted((c for c in gains.classes if c.samples), key=lambda c: -abs(c.recall.difference))
    return known[:_MOST_ROWS], f"The {_MOST_ROWS} of {len(gains.classes):,} classes whose recall changes most. "


def _share(value: float) -> Cell:
    return "not known" if math.isnan(value) else value


def _share_text(share: Share) -> str:
    if not share.samples:
        return "no samples"
    low, high = share.interval
    return f"{share.value:.1%} ({low:.1%} to {high:.1%})"


def labels_text(value: float, most: float, least: float, form: str = ",.0f") -> str:
    """Return a number of labels, or a factor; beyond the most and the fewest that were tried, a bound."""
    return f"more than {most:{form}}" if math.isinf(value) else f"{'at most ' * (value <= least)}{value:{form}}"


def time_text(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    if math.isinf(seconds):
        return "longer"
    return (
        f"{seconds:.2f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < 3600
        else f"{seconds / 3600:.1f} h"
    )
