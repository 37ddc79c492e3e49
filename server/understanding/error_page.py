"""The page of what adapting a regressor changed: target by target, range by range, group by group, in labels saved."""

import math

import numpy as np

from ..plots import Curve, CurvePlot, Plot
from ..report import Fact, Report, Section, Table
from .efficiency import LearningCurve
from .error_curves import ErrorCurves
from .error_gains import TargetGain
from .error_place import ErrorPlaceGains
from .error_tables import difference, error_saving_table, error_table, number, part_table

# Beyond it nobody reads what stands on top.
_MOST_FACTS = 6
# How many times as high as the curves what the shipped head does may be, to be drawn with them.
_MOST_HEIGHT = 2


def error_page(found: ErrorPlaceGains, title: str, provenance: tuple[tuple[str, str], ...] = ()) -> Report:
    """Return what adapting a regressor changed as a page.

    Args:
        found: What was found.
        title: What it is about.
        provenance: Name and value of what it was made with.
    """
    targets = found.gains.targets
    facts = tuple(
        Fact(f"mean absolute error of {one.name}", number(one.mae.after), f"{number(one.mae.before)} as shipped")
        for one in targets[:_MOST_FACTS]
    )
    note = "Ranges hold about as many samples each. "
    ranges = tuple(part_table(f"By the true {one.name}", one.name, one.ranges, note) for one in targets)
    sections = [Section("Errors", _told(targets), (error_table(found.gains), *ranges))]
    if found.curves:
        pairs = list(zip(found.curves, found.savings, strict=True))
        blocks: list[Table | Plot] = [_plot(curves) for curves in found.curves]
        blocks += [error_saving_table(found, curves, saved) for curves, saved in pairs]
        said = " ".join(f"Of {curves.target}: {saved[0]}." for curves, saved in pairs)
        said += " Without transfer means a head on the same latents, from the labels of this place alone."
        sections.append(Section("Labels and time", said, tuple(blocks)))
    if any(one.groups for one in targets):
        tables = tuple(part_table(f"{one.name}, by group", "group", one.groups) for one in targets)
        sections.append(Section("Groups", "", tables))
    return Report(title, _summary(found), facts, tuple(sections), provenance)


def _summary(found: ErrorPlaceGains) -> str:
    told = "; ".join(error_text(one) for one in found.gains.targets[:_MOST_FACTS])
    return (
        f"On {found.gains.samples:,} held-out samples, version {found.version} against the shipped head. {told}. "
        + (" ".join(found.remarks))
    )


def error_text(one: TargetGain) -> str:
    """Return the change of a target's mean absolute error in words."""
    how = "lower" if one.mae.difference < 0 else "higher"
    verdict = f", {how} by more than chance explains" if one.mae.told else ", within what chance explains"
    return (
        f"{one.name}: mean absolute error {number(one.mae.before)} as shipped, {number(one.mae.after)} now, "
        f"{difference(one.mae)}{'' if math.isnan(one.mae.low) else verdict}"
    )


def _told(targets: tuple[TargetGain, ...]) -> str:
    found = [
        f"{one.name} from {part.name} is predicted {how} nearly"
        for one in targets
        for part in one.ranges
        for how, holds in (("more", part.mae.high < 0), ("less", part.mae.low > 0))
        if holds
    ]
    said = f"Beyond chance, {'; '.join(found[:12])}." if found else "No range changes beyond chance."
    return f"{said} Each range is asked on its own: of twenty that did not change, one may seem to."


def _plot(curves: ErrorCurves) -> CurvePlot:
    labels = tuple(map(float, curves.scratch.labels))
    lines = [_curve("with transfer", curves.transferred), _curve("without transfer", curves.scratch)]
    guarded = _curve("as the guard leaves it", curves.guarded)
    level = f"The shipped head's error is {number(curves.shipped)}."
    # Where the shipped head is far off, a scale that shows it shows nothing else.
    if max(curves.shipped, *guarded.high) <= _MOST_HEIGHT * max(value for line in lines for value in line.high):
        lines += [guarded, Curve("as shipped", labels, (curves.shipped,) * len(labels))]
        level = "The guard keeps a shipped head until there is evidence against it."
    return CurvePlot(
        f"Mean absolute error of {curves.target} against labels",
        tuple(lines),
        "labelled samples",
        note=f"Line: mean of {len(curves.scratch.accuracy[0])} draws of the stored samples. Band: lowest to highest. "
        f"{level}",
    )


def _curve(name: str, curve: LearningCurve) -> Curve:
    errors = -np.array(curve.accuracy)
    mean, low, high = (tuple(row.tolist()) for row in (errors.mean(axis=1), errors.min(axis=1), errors.max(axis=1)))
    return Curve(name, tuple(map(float, curve.labels)), mean, low, high)
