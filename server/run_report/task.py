"""How the best weights of a run do on one task, as a part of a report."""

import math

from ..plots import MOST_NAMED, ConfusionPlot, Plot, ReliabilityPlot
from ..report import Cell, Column, Section, Table
from ..training.breakdown import Breakdown
from .folder import TaskScores

_MOST_ROWS = 100
_NOTE = "Percent of the true class. The colour grows with the square root, so that rare mistakes show."
_MOST_PAIRS = 15


def task_section(task: TaskScores, *, alone: bool) -> Section:
    """Return the part of a report on one task.

    Args:
        task: How the weights do.
        alone: Whether the run has no other task.
    """
    one = task.metrics
    low, high = accuracy_interval(one.accuracy, one.samples)
    text = (
        f"{one.accuracy:.2%} of {one.samples:,} validation samples are right (95 % interval {low:.1%} to {high:.1%}). "
        f"Macro F1 is {one.macro_f1:.3f}, cross-entropy {one.loss:.4f} nats, expected calibration error "
        f"{one.calibration_error:.2%}."
    )
    blocks: list[Table | Plot] = []
    if task.breakdown is not None:
        blocks += _plots(task, task.breakdown)
    blocks.append(_class_table(task))
    return Section("Validation" if alone else f"Task {task.name}", text, tuple(blocks))


def accuracy_interval(share: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z = 1.96
    if samples <= 0:
        return 0.0, 1.0
    middle = (share + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z / (1 + z**2 / samples) * math.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _plots(task: TaskScores, breakdown: Breakdown) -> list[Table | Plot]:
    blocks: list[Table | Plot] = []
    if breakdown.confusion is not None:
        blocks.append(
            ConfusionPlot(
                "Which class was taken for which",
                task.classes,
                breakdown.confusion,
                note=_NOTE if len(task.classes) <= MOST_NAMED else f"{_NOTE} Classes by their number, as below.",
            )
        )
    if any(samples for samples, _, _ in breakdown.bins):
        blocks.append(
            ReliabilityPlot(
                f"How sure and how right: calibration error {task.metrics.calibration_error:.1%}",
                breakdown.bins,
                note="Bars: share of right answers by the confidence of the answer. Red: from there to the mean "
                "confidence, the error of the bin. Below: share of the samples.",
            )
        )
    # Of few classes the heat map tells all.
    if breakdown.pairs and len(task.classes) > 5:
        blocks.append(_pair_table(task, breakdown))
    return blocks


def _pair_table(task: TaskScores, breakdown: Breakdown) -> Table:
    rows = tuple(
        (task.classes[label], task.classes[answer], count, count / max(breakdown.labelled[label], 1))
        for label, answer, count in breakdown.pairs[:_MOST_PAIRS]
    )
    columns = (Column("true"), Column("taken for"), Column("samples", ","), Column("of the class", ".1%"))
    return Table("Mistakes that were made most often", columns, rows)


def _class_table(task: TaskScores) -> Table:
    shown = list(range(len(task.classes)))
    note = ""
    if len(shown) > _MOST_ROWS:
        recall = task.metrics.recall
        # Classes without samples tell nothing.
        known = sorted((i for i in shown if recall[i] is not None), key=lambda i: (recall[i], i))
        shown, note = known[:_MOST_ROWS], f"The {_MOST_ROWS} of {len(task.classes):,} classes with the lowest recall."
    breakdown = task.breakdown
    if breakdown is None:
        rows: tuple[tuple[Cell, ...], ...] = tuple((task.classes[i], _share(task.metrics.recall[i])) for i in shown)
        return Table("Classes", (Column("class"), Column("recall", ".1%")), rows, note)
    numbered = len(task.classes) > MOST_NAMED
    columns = (
        *((Column("number", "d"),) if numbered else ()),
        Column("class"),
        Column("recall", ".1%"),
        Column("precision", ".1%"),
        Column("F1", ".3f"),
        Column("samples", ","),
        Column("answers", ","),
    )
    rows = tuple(
        (
            *((i + 1,) if numbered else ()),
            task.classes[i],
            _share(breakdown.recall(i)),
            _share(breakdown.precision(i)),
            _share(breakdown.f1(i)),
            breakdown.labelled[i],
            breakdown.answered[i],
        )
        for i in shown
    )
    return Table("Classes", columns, rows, note)


def _share(value: float | None) -> Cell:
    return "none" if value is None else value
