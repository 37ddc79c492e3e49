"""Runs side by side, as one HTML page and as tables."""

from dataclasses import replace

from ..plots import Curve, CurvePlot, Plot
from ..report import Cell, Column, Report, Section, Table
from .comparison import Comparison, TaskComparison
from .curves import task_curve, training_loss
from .folder import RunFolder
from .page import speed_of
from .settings import shown

_MOST_CLASSES = 100


def comparison_page(found: Comparison) -> Report:
    """Return a comparison as a page: scores, recall of the classes, settings that differ, cost, and curves."""
    sections = [Section("Scores", "", (*_verdicts(found), *_scores(found)))]
    curves = _curves(found)
    if curves:
        sections.append(Section("Curves", "", curves))
    sections.append(Section("What was done differently", "", (settings_that_differ(found), cost_table(found))))
    told = tuple((f"{name} not read", fault) for name, run in _named(found) for fault in run.faults)
    folders = ("folders", ", ".join(str(run.path) for run in found.runs))
    title = " and ".join(found.names) if len(found.names) == 2 else f"{len(found.names)} runs"
    return Report(f"Comparison of {title}", found.samples_told, (), tuple(sections), (folders, *told))


def score_table(found: Comparison, task: TaskComparison) -> Table:
    """Return the scores of one task, a row for each run that has it."""
    columns = (
        Column("run"),
        Column("accuracy", ".2%"),
        Column("against the first, points"),
        Column("macro F1", ".4f"),
        Column("calibration error", ".2%"),
        Column("cross-entropy", ".4f"),
        Column("samples", ","),
    )
    rows = []
    for place, (name, one) in enumerate(zip(found.names, task.scores, strict=True)):
        if one is not None:
            m, gap = one.metrics, task.difference(place)
            told = "" if gap is None else f"{gap.points:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
            rows.append((name, m.accuracy, told, m.macro_f1, m.calibration_error, m.loss, m.samples))
    note = (
        "In brackets the 95 % interval of the difference, from the counts alone: on the same samples it is wider than "
        "need be."
    )
    if not task.same_samples and len(rows) > 1:
        known = "not known to be" if task.same_samples is None else "not"
        note = f"The validation samples are {known} the same: these scores are not comparable. {note}"
    return Table(_title("Validation", found, task), columns, tuple(rows), note if len(rows) > 1 else "")


def settings_that_differ(found: Comparison) -> Table:
    """Return the settings that differ, a column for each run."""
    columns = (Column("setting"), *(Column(name, wraps=True) for name in found.names))
    rows = tuple((name, *map(shown, values)) for name, values in found.settings)
    return Table("Settings that differ", columns, rows, "" if rows else "All settings are the same.")


def cost_table(found: Comparison) -> Table:
    """Return steps, parameters and speed, a row for each run."""
    columns = (
        Column("run"),
        Column("state"),
        Column("steps", ","),
        Column("best after step", ","),
        Column("parameters", ","),
        Column("samples a second", ",.0f"),
        Column("waiting for samples", ".1%"),
        Column("ran on"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, run in _named(found):
        speed = speed_of(run) or ("", "")
        best: Cell = "" if run.best_step is None else run.best_step
        place = ""
        if run.record is not None and run.record.attempts:
            last = run.record.attempts[-1]
            place = last.device if last.processes == 1 else f"{last.processes} x {last.device}"
        size: Cell = "" if run.record is None else run.record.parameters
        rows.append((name, "ended" if run.ended else "cut off", run.steps, best, size, *speed, place))
    return Table("Steps, size and speed", columns, tuple(rows))


def recall_table(found: Comparison, task: TaskComparison) -> Table:
    """Return the recall of each class in each run, and the largest difference."""
    with_it = [
        (name, one.metrics.recall) for name, one in zip(found.names, task.scores, strict=True) if one is not None
    ]
    rows = []
    for place, label in enumerate(task.classes):
        values = [recall[place] for _, recall in with_it]
        known = [value for value in values if value is not None]
        gap = 100 * (known[-1] - known[0]) if len(known) == len(values) else 0.0
        rows.append((abs(gap), (label, *("none" if value is None else value for value in values), gap)))
    note = "The difference is that of the last run and the first, in percentage points."
    if len(rows) > _MOST_CLASSES:
        rows = sorted(rows, key=lambda row: -row[0])[:_MOST_CLASSES]
        note = f"The {_MOST_CLASSES} of {len(task.classes):,} classes that differ most. {note}"
    columns = (Column("class"), *(Column(name, ".1%") for name, _ in with_it), Column("difference", "+.1f"))
    return Table(_title("Recall of each class", found, task), columns, tuple(row for _, row in rows), note)


def _verdicts(found: Comparison) -> tuple[Table, ...]:
    rows = tuple((_sentence(verdict),) for verdict in found.verdicts)
    return (Table("Several tasks at once, or one", (Column("", wraps=True),), rows),) if rows else ()


def _scores(found: Comparison) -> tuple[Table, ...]:
    tables = []
    for task in found.tasks:
        tables.append(score_table(found, task))
        if sum(one is not None for one in task.scores) > 1:
            tables.append(recall_table(found, task))
    return tuple(tables)


def _curves(found: Comparison) -> tuple[Plot, ...]:
    plots: list[Plot] = []
    losses = [training_loss(name, run) for name, run in _named(found)]
    _add(plots, "Training loss", losses, percent=False)
    for task in found.tasks:
        drawn = [
            None if one is None else task_curve(name, run, run.tasks.index(one), "accuracy")
            for (name, run), one in zip(_named(found), task.scores, strict=True)
        ]
        _add(plots, _title("Validation accuracy", found, task), drawn, percent=True)
    return tuple(plots)


def _add(plots: list[Plot], title: str, drawn: list[Curve | None], *, percent: bool) -> None:
    # Bands of several runs would hide each other; a run looks the same in every plot.
    curves = tuple(
        replace(curve, low=(), high=(), style=place) for place, curve in enumerate(drawn) if curve is not None
    )
    if curves:
        plots.append(CurvePlot(title, curves, percent=percent))


def _title(what: str, found: Comparison, task: TaskComparison) -> str:
    return what if len(found.tasks) == 1 else f"{what}, {task.name}"


def _named(found: Comparison) -> list[tuple[str, RunFolder]]:
    return list(zip(found.names, found.runs, strict=True))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
