"""The command `acclimate adapt`, and its report for people."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .console import output, print_json, printable, progress, tell
from .opening import BundlePath, Json, RuntimeName, StorePath, stored_device
from .signing import Trust
from .values import tell_report

if TYPE_CHECKING:
    from ..edge import Report

EXIT_NOT_APPLIED = 3
# Rows of each table.
MOST_CHANGES, MOST_TRIALS = 8, 5


def _above_0(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value:g} is not above 0")
    return value


def adapt(
    bundle: BundlePath,
    store: StorePath = None,
    on_insufficient: Annotated[
        str | None,
        typer.Option(
            help="With too few samples to tell: keep the head in use, or apply the candidate. By default a shipped "
            "head is kept, and one that was adapted here is refreshed."
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(callback=_above_0, help="Seconds that the search may take, above 0.")
    ] = None,
    max_memory_mb: Annotated[
        float | None,
        typer.Option(callback=_above_0, help="Working memory that it may take, in MB above 0, on top of the process."),
    ] = None,
    max_forgetting: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Points of accuracy that may be lost on the probe of the source, or of explained variance of its "
            "targets; by default 10, and as many more as are gained here.",
        ),
    ] = None,
    tail: Annotated[
        bool | None,
        typer.Option(
            "--tail/--no-tail",
            help="Whether the last blocks are trained too, where the bundle has a tail. By default they are where no "
            "head is enough.",
        ),
    ] = None,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Choose and fit a head on the stored samples, and use it if it is no worse."""
    from ..edge import Learner, Report

    if on_insufficient not in ("keep", "apply", None):
        raise typer.BadParameter("expected keep or apply", param_hint="--on-insufficient")
    with stored_device(bundle, store, runtime, trust) as device, progress("adapting") as bar:
        # In points for either task, as people say it.
        share = 1.0 if isinstance(device, Learner) else 100.0
        if tail is not None and not isinstance(device, Learner):
            raise typer.BadParameter("expected a bundle for classification", param_hint="--tail")
        more = {} if tail is None else {"tail": tail}
        report = device.adapt(
            on_insufficient=on_insufficient,  # type: ignore[arg-type]  # checked above
            max_seconds=max_seconds,
            max_memory_mb=max_memory_mb,
            max_forgetting=None if max_forgetting is None else max_forgetting / share,
            progress=bar,
            **more,  # type: ignore[arg-type]  # only where it is a Learner
        )
    if json:
        print_json(report.to_dict())
    elif isinstance(report, Report):
        _tell(report)
    else:
        tell_report(report)
    if not report.applied:
        raise typer.Exit(EXIT_NOT_APPLIED)


def _tell(report: "Report") -> None:
    """Print a report for people: the verdict, what changes for which class, what was tried."""
    tell(report)
    changes = [c for c in report.judgement.classes if c.gained or c.lost or c.before != c.before]
    if changes:
        table = Table("class", "samples", "right before", "right after", box=None, padding=(0, 2))
        # New classes first, then the greatest changes.
        changes.sort(key=lambda c: -abs(c.after - c.before) if c.before == c.before else -2)
        for c in changes[:MOST_CHANGES]:
            before = f"{c.before:.1%}" if c.before == c.before else "new"
            table.add_row(printable(c.name), str(c.samples), before, f"{c.after:.1%}")
        output.print(table)
        shown, all_of = min(len(changes), MOST_CHANGES), report.judgement.classes
        if shown < len(all_of):
            rest = f"the {shown} that change most" if shown < len(changes) else "those that change"
            tell(f"held-out samples of {shown} of {len(all_of)} classes: {rest}")
    if report.probe is not None and report.probe.forgotten:
        weaker = sorted((c for c in report.probe.classes if c.after < c.before), key=lambda c: c.after - c.before)
        most = ", ".join(f"{c.name} {c.before:.0%} to {c.after:.0%}" for c in weaker[:3])
        tell(
            f"on the probe of the source: {report.probe.before:.1%} before, {report.probe.after:.1%} after"
            + (f"; most of all {most}" if most else "")
        )
    table = Table("head", "regularisation", "source weight", "prior", "accuracy", "loss", box=None, padding=(0, 2))
    for trial in report.trials[:MOST_TRIALS]:
        s = trial.setting
        figures = (f"{s.regularisation:g}", f"{s.source_weight:g}", s.prior)
        table.add_row(s.head, *figures, f"{trial.accuracy:.3f}", f"{trial.loss:.3f}")
    output.print(table)
    if report.tail is not None:
        tell(f"tail: {report.tail.reason}")
    tell(f"version {report.version} is in use; {report.seconds:.2f} s")
