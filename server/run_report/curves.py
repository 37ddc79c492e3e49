"""The curves of a run, from its log."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..plots import Curve, CurvePlot, thinned
from .folder import RunFolder, number

_BEST = "best weights"
# A plot of more lines cannot be read.
_MOST_TASKS = 7


def training_curves(run: RunFolder) -> tuple[CurvePlot, ...]:
    """Return plots of what the log tells: losses, validation scores, learning rate, speed, input wait."""
    mark = None if run.best_step is None or not run.records("epoch") else float(run.best_step)
    steps = run.records("step")
    plots = [
        _plot("Loss", _losses(run), mark, note=_loss_note(run)),
        _plot("Validation accuracy" if _count(run) > 1 else "Validation", _scores(run), mark, percent=True),
        _plot("Calibration error", _by_task(run, "calibration_error", "calibration error"), mark, percent=True),
        _plot("Learning rate", [_line("learning rate", steps, "learning_rate")], None),
        _plot(
            "Samples a second",
            [_line("samples a second", steps, "samples_per_second")],
            None,
            note=_SINCE.format(""),
        ),
        _plot(
            "Waiting for samples",
            [_line("waiting for samples", steps, "input_wait")],
            None,
            percent=True,
            note=_SINCE.format("Share of the time of a step. "),
        ),
    ]
    return tuple(plot for plot in plots if plot is not None)


_SINCE = "{}Mean since the run began or was resumed; validation and checkpoints are left out."


def training_loss(name: str, run: RunFolder) -> Curve | None:
    """Return the course of the loss that is minimised: by step, or by epoch where the log has no steps."""
    return curve_of(name, run.records("step") or run.records("epoch"), "loss")


def curve_of(name: str, records: tuple[Mapping[str, Any], ...], key: str) -> Curve | None:
    """Return the course of one number of a log over the steps; None where it is not there."""
    found = [(number(record, "step"), number(record, key)) for record in records]
    points = [(step, value) for step, value in found if step is not None and value is not None]
    return thinned(name, points) if points else None


def task_curve(name: str, run: RunFolder, task: int, key: str) -> Curve | None:
    """Return the course of a validation score of one task; None where it is not there."""
    records = tuple(
        {"step": record.get("step"), key: tasks[task].get(key)}
        for record in run.records("epoch")
        if len(tasks := _tasks(record)) > task
    )
    return curve_of(name, records, key)


def _losses(run: RunFolder) -> list[Curve | None]:
    training = curve_of("training", run.records("step") or run.records("epoch"), "loss")
    return [training, *_by_task(run, "loss", "validation", "validation, ")]


def _scores(run: RunFolder) -> list[Curve | None]:
    accuracy = _by_task(run, "accuracy", "accuracy")
    return accuracy if _count(run) > 1 else [*accuracy, task_curve("macro F1", run, 0, "macro_f1")]


def _by_task(run: RunFolder, key: str, what: str, before: str = "") -> list[Curve | None]:
    """Return the course of a validation score: under what it is, or of several tasks under their names."""
    count = _count(run)
    names = [what] if count <= 1 else [f"{before}{name}" for name in _names(run, count)]
    return [task_curve(name, run, i, key) for i, name in enumerate(names[:_MOST_TASKS])]


def _line(name: str, records: tuple[Mapping[str, Any], ...], key: str) -> Curve | None:
    """Return a course that hardly changes from step to step: its band would tell nothing."""
    curve = curve_of(name, records, key)
    return None if curve is None else replace(curve, low=(), high=())


def _names(run: RunFolder, count: int) -> list[str]:
    return [run.tasks[i].name if i < len(run.tasks) else f"task {i + 1}" for i in range(count)]


def _count(run: RunFolder) -> int:
    return max((len(_tasks(record)) for record in run.records("epoch")), default=0)


def _tasks(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = record.get("tasks")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _loss_note(run: RunFolder) -> str:
    training = run.config.get("training", {})
    smoothed = [
        told
        for key, told in (("label_smoothing", "label smoothing"), ("mixup", "mixup"), ("cutmix", "CutMix"))
        if training.get(key)
    ]
    if not smoothed or not _count(run):
        return ""
    return f"The training loss is with {', '.join(smoothed)}, that of validation without: compare each with itself."


def _plot(
    title: str, curves: list[Curve | None], mark: float | None, *, percent: bool = False, note: str = ""
) -> CurvePlot | None:
    found = tuple(curve for curve in curves if curve is not None)
    if any(curve.low for curve in found):
        note = f"Line: mean of neighbouring lines of the log. Band: lowest to highest. {note}".strip()
    return CurvePlot(title, found, percent=percent, mark=mark, mark_name=_BEST, note=note) if found else None
