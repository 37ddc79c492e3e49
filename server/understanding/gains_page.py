"""The page of what adapting changed: class by class, group by group, and in labels saved."""

import math

from ...edge.understanding.fairness import Fairness
from ..plots import AccuracyPlot, BarPlot, ConfusionPlot, Level, Plot, Series
from ..report import Fact, Report, Section, Table
from .efficiency import LearningCurve
from .gains import Gains
from .gains_tables import change_text, gap_table, group_table, recall_table, saving_table, score_table
from .place_figures import PlaceGains

# Beyond it a confusion cannot be read.
_MOST_DRAWN = 100


def gains_page(found: PlaceGains, title: str, provenance: tuple[tuple[str, str], ...] = ()) -> Report:
    """Return what adapting changed as a page.

    Args:
        found: What was found.
        title: What it is about.
        provenance: Name and value of what it was made with.
    """
    gains = found.gains
    sections = [Section("Classes", _classes_told(gains), _class_blocks(gains))]
    if found.curves is not None:
        sections.append(Section("Labels and time", _saving_told(found), _curve_blocks(found)))
    if found.fairness is not None:
        sections.append(Section("Groups", _groups_told(*found.fairness), tuple(_group_blocks(*found.fairness))))
    return Report(title, _summary(found), _facts(found), tuple(sections), provenance)


def _summary(found: PlaceGains) -> str:
    gains = found.gains
    change = gains.accuracy
    verdict = "more than chance explains" if change.told else "within what chance explains"
    return (
        f"{change.before:.1%} of {gains.samples:,} held-out samples are right with the shipped head, "
        f"{change.after:.1%} with version {found.version}: {change_text(change)} points, {verdict}. "
        f"{gains.gained:,} are gained and {gains.lost:,} lost.{' ' * bool(found.remarks)}{' '.join(found.remarks)}"
    )


def _facts(found: PlaceGains) -> tuple[Fact, ...]:
    gains = found.gains
    facts = [
        Fact("accuracy", f"{gains.accuracy.after:.1%}", f"{gains.accuracy.before:.1%} as shipped"),
        Fact("mean recall", f"{gains.balanced.after:.1%}", f"{change_text(gains.balanced)} points"),
        Fact("macro F1", f"{gains.macro_f1.after:.3f}", f"{gains.macro_f1.before:.3f} as shipped"),
    ]
    if found.savings:
        one = found.headline
        factor = f"{one.factor:.1f}" if math.isfinite(one.factor) else f"over {one.most / one.labels:.1f}"
        facts.append(Fact("times the labels without transfer", factor, f"for {one.accuracy:.1%}, {one.labels} with it"))
    return tuple(facts)


def _classes_told(gains: Gains) -> str:
    better = [one.label for one in gains.classes if one.recall.low > 0]
    worse = [one.label for one in gains.classes if one.recall.high < 0]
    parts = [f"recall is {how} in {_listed(some)}" for how, some in (("higher", better), ("lower", worse)) if some]
    said = f"Beyond chance, {' and '.join(parts)}." if parts else "No class changes beyond chance."
    return f"{said} Each class is asked on its own: of twenty that did not change, one may seem to."


def _class_blocks(gains: Gains) -> tuple[Table | Plot, ...]:
    names = tuple(one.label for one in gains.classes)
    blocks: list[Table | Plot] = []
    if len(names) <= _MOST_DRAWN:
        note = "Percent of the true class. The colour grows with the square root, so that rare mistakes show."
        both = gains.confusion_before, gains.confusion_after
        blocks.append(ConfusionPlot("Which class was taken for which", names, *both, note))
    return (*blocks, recall_table(gains), score_table(gains))


def _saving_told(found: PlaceGains) -> str:
    said, vain = str(found.headline), found.in_vain
    none = "" if vain is None else f" With {vain} labels and more it saves none."
    return (
        f"{said[0].upper()}{said[1:]}.{none} Without transfer means a head on the same latents, from the labels of "
        f"this place alone, chosen in the same way; the backbone is the same on both sides."
    )


def _curve_blocks(found: PlaceGains) -> tuple[Table | Plot, ...]:
    if found.curves is None:
        return ()
    curves = found.curves
    series = (
        _series("with transfer", curves.transferred),
        _series("as the guard leaves it", curves.guarded),
        _series("without transfer", curves.scratch),
    )
    level = None if curves.shipped is None else Level("as shipped", (curves.shipped,))
    draws = len(curves.scratch.accuracy[0])
    plot = AccuracyPlot(
        "Accuracy against labels",
        series,
        level,
        "labelled samples",
        f"Line: mean of {draws} draws of the stored samples. Band: lowest to highest. The guard keeps a shipped head "
        f"until there is evidence against it.",
    )
    blocks: list[Table | Plot] = [plot]
    one = found.headline
    if math.isfinite(one.typical):
        bars = (("with transfer", float(one.labels)), ("without transfer", one.typical))
        blocks.append(BarPlot(f"Labels for {one.accuracy:.1%}", "labels", bars))
    return (*blocks, saving_table(found))


def _series(name: str, curve: LearningCurve) -> Series:
    return Series(name, tuple(map(float, curve.labels)), curve.accuracy)


def _groups_told(before: Fairness, after: Fairness) -> str:
    gap = after.accuracy_gap
    chance = (
        "" if math.isnan(gap.chance) else f" Groups by lot lie at least as far apart in {gap.chance:.1%} of the draws."
    )
    return (
        f"Accuracies of the groups lie {100 * before.accuracy_gap.difference:.1f} points apart before and "
        f"{100 * gap.difference:.1f} after.{chance}"
    )


def _group_blocks(before: Fairness, after: Fairness) -> list[Table]:
    return [
        group_table("Accuracy of each group", before.accuracy, after.accuracy, after.groups),
        gap_table(before, after),
    ]


def _listed(names: list[str]) -> str:
    shown = names[:6]
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
