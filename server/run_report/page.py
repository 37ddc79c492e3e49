"""The page of a run: one HTML file that needs nothing but itself."""

import logging
from pathlib import Path

from ..report import Column, Fact, Report, Section, Table, write_report
from ..training.divergence import grown_loss
from .adaptation import adaptation_section
from .curves import training_curves
from .folder import RunFolder, read_run
from .record import RunRecord
from .settings import changed_settings, settings_table
from .task import task_section

REPORT_FILE = "report.html"

_log = logging.getLogger(__name__)


def write_page(run: Path, out: Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the page of a run, whether it came to its end or not.

    Args:
        run: Its folder.
        out: The file to write; None for ``report.html`` in the folder.
        overwrite: Replace a file that is there.

    Returns:
        The file.

    Raises:
        InputError: If it is no folder of a run.
        OutputExistsError: If the file is there and `overwrite` is false.
    """
    target = out or run / REPORT_FILE
    write_report(target, page_of(read_run(run)), overwrite=overwrite)
    return target


def try_page(run: Path) -> None:
    """Write the page of a run that has ended; whatever fails is a warning, as the run did not."""
    try:
        write_page(run, overwrite=True)
    except Exception as error:
        _log.warning("the report of %s could not be written (%s): mend it, and run acclimate report.", run, error)


def page_of(run: RunFolder) -> Report:
    """Return the page of a run."""
    curves = training_curves(run)
    sections = [Section("Training", "" if curves else "The log tells of no step yet.", curves)]
    sections += [task_section(task, alone=len(run.tasks) == 1) for task in run.tasks]
    adaptation = adaptation_section(run)
    sections += [*((adaptation,) if adaptation else ()), _data(run), _settings(run)]
    return Report(f"Run {run.name}", _summary(run), _facts(run), tuple(sections), _provenance(run))


def _summary(run: RunFolder) -> str:
    model = run.config.get("model", {}).get("name", "a model")
    objective = run.config.get("objective", {}).get("name", "supervised")
    source = f" on {run.record.source}" if run.record is not None else ""
    state = "Trained" if run.ended else "Cut off, or still running: trained so far"
    best = "" if run.best_step is None else f" The weights that are kept are those after step {run.best_step:,}."
    if not run.tasks:
        scores = " There are no validation scores."
    elif len(run.tasks) == 1:
        one = run.tasks[0].metrics
        probe = "A linear probe on them" if objective in ("simclr", "barlow-twins") else "They"
        scores = (
            f" {probe} get{'s' * (probe != 'They')} {one.accuracy:.1%} of {one.samples:,} validation samples right."
        )
    else:
        told = ", ".join(f"{task.name} {task.metrics.accuracy:.1%}" for task in run.tasks)
        scores = f" Validation accuracy by task: {told}."
    grown = grown_loss(run.records("epoch"))
    diverged = "" if grown is None else f" {grown[0].upper()}{grown[1:]}"
    refused = "" if run.verdict is None or run.verdict.kept else " The adapted model was refused."
    return f"{state}{source}: {model}, {objective}.{best}{scores}{refused}{diverged}"


def _facts(run: RunFolder) -> tuple[Fact, ...]:
    facts = []
    for task in run.tasks:
        name = "" if len(run.tasks) == 1 else f", {task.name}"
        facts.append(Fact(f"accuracy{name}", f"{task.metrics.accuracy:.1%}", f"{task.metrics.samples:,} samples"))
    if len(run.tasks) == 1:
        one = run.tasks[0].metrics
        facts += [
            Fact("macro F1", f"{one.macro_f1:.3f}", "mean over the classes"),
            Fact("calibration error", f"{one.calibration_error:.1%}", "confidence against accuracy"),
        ]
    facts.append(Fact("steps", f"{run.steps:,}", f"{len(run.records('epoch')):,} epochs"))
    if run.record is not None:
        facts.append(Fact("parameters", _count(run.record.parameters)))
    speed = speed_of(run)
    if speed is not None:
        facts.append(Fact("samples a second", f"{speed[0]:,.0f}", f"{speed[1]:.1%} of the time waiting for them"))
    return tuple(facts)


def speed_of(run: RunFolder) -> tuple[float, float] | None:
    """Return samples a second and the share of waiting for them: at the end, or as logged last; None if neither."""
    if run.record is not None and run.record.speed is not None:
        return run.record.speed.samples_per_second, run.record.speed.input_wait
    for record in reversed(run.records("step")):
        found = record.get("samples_per_second"), record.get("input_wait")
        if all(type(value) in (int, float) for value in found):
            return float(found[0] or 0), float(found[1] or 0)
    return None


def _data(run: RunFolder) -> Section:
    record = run.record
    if record is None:
        return Section("Data", "What the run was made with was not noted.")
    validation = None if record.validation is None else record.validation.count
    counts = [
        f"{'unknown' if count is None else f'{count:,}'} samples to {what}"
        for count, what in ((record.train.count, "train on"), (validation, "validate on"))
    ]
    if record.validation is None:
        counts[1] = "none to validate on"
    text = f"{record.source}: {', '.join(counts)}."
    if not record.checked:
        return Section("Data", f"{text} They were handed over in Python and not checked.")
    if not record.warnings:
        return Section("Data", f"{text} The check before training found nothing to warn of.")
    rows = tuple((warning,) for warning in record.warnings)
    return Section(
        "Data", text, (Table("What the check before training found", (Column("warning", wraps=True),), rows),)
    )


def _settings(run: RunFolder) -> Section:
    changed = tuple(changed_settings(run.config))
    columns = (Column("setting"), Column("value", wraps=True))
    blocks = (Table("Given, or changed from the default", columns, changed), settings_table(run.config))
    return Section("Settings", "" if changed else "There are none to be read.", blocks if run.config else ())


def _provenance(run: RunFolder) -> tuple[tuple[str, str], ...]:
    told: list[tuple[str, str]] = []
    if run.record is not None:
        told += _attempts(run.record)
    if run.architecture:
        told.append(("network", run.architecture))
    return (*told, ("folder", run.name), *(("not read", fault) for fault in run.faults))


def _attempts(record: RunRecord) -> list[tuple[str, str]]:
    if not record.attempts:
        return []
    last = record.attempts[-1]
    processes = "one process" if last.processes == 1 else f"{last.processes} processes"
    told = [("ran on", f"{last.device}, {processes}"), ("began", record.attempts[0].began)]
    resumed = [f"after step {one.step:,} at {one.began}" for one in record.attempts if one.step]
    if resumed:
        told.append(("resumed", "; ".join(resumed)))
    told.append(("versions", ", ".join(f"{name} {version}" for name, version in last.versions.items())))
    others = {tuple(sorted(one.versions.items())) for one in record.attempts} - {tuple(sorted(last.versions.items()))}
    if others:
        told.append(("versions before", "; ".join(", ".join(f"{k} {v}" for k, v in sorted(one)) for one in others)))
    return told


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1_000_000 else f"{number:,}"
