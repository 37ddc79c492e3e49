"""The command `acclimate align`, and its report for people."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from .adapt import EXIT_NOT_APPLIED
from .console import many, output, print_json, printable, tell
from .frames import read_frames
from .opening import BundlePath, Json, RuntimeName, StorePath, no_classes, one_of, open_learner, store_of, task_of
from .signing import Trust
from .values import channels_of, image_of
from .wording import in_options

if TYPE_CHECKING:
    from ..edge.alignment.report import AlignReport

METHODS = ("auto", "coral", "prototypes", "label-shift")
_INSTEAD = "A regressor needs values: `acclimate label` some samples, then `acclimate adapt`."
# Classes shown.
_MOST = 10


def align(
    bundle: BundlePath,
    frames: Annotated[
        Path | None,
        typer.Argument(metavar="[FRAMES]", help="Frames to observe first, without labels; those stored are skipped."),
    ] = None,
    store: StorePath = None,
    method: Annotated[
        str, typer.Option("--method", help=", ".join(METHODS[:-1]) + f" or {METHODS[-1]}.", callback=one_of(*METHODS))
    ] = "auto",
    check: Annotated[
        bool, typer.Option("--check", help="Only test whether the stored samples differ from the source.")
    ] = False,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    json: Json = False,
) -> None:
    """Fit the shipped head to stored samples without labels, and use it if the evidence is for it."""
    if task_of(bundle) == "regression":
        raise no_classes(bundle, _INSTEAD)
    path = store_of(bundle, store, must=frames is None)
    # Opening makes a store: what is no frames is told before.
    found = None if frames is None else _read(bundle, frames)
    with open_learner(bundle, path, runtime, 1 if found is None else None, trusted=trust) as learner:
        if found is not None:
            learner.observe(found, on_duplicate="skip")
        if check:
            shift = learner.shift()
            if json:
                print_json({name: None if value != value else value for name, value in asdict(shift).items()})
            else:
                tell(f"{str(shift)[0].upper()}{str(shift)[1:]}")
            return
        report = learner.align(method=method)  # type: ignore[arg-type]  # checked by its option
    if json:
        print_json(report.to_dict())
    else:
        _tell(report)
    if not report.applied:
        raise typer.Exit(EXIT_NOT_APPLIED)


def _read(bundle: Path, frames: Path) -> NDArray[np.generic]:
    """Read frames and check that the bundle takes them."""
    from ..bundle import Bundle
    from ..edge.checks import check_frames

    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    found, _, _ = read_frames(frames, channels_of(spec), image_of(spec))
    return check_frames(found, spec)


def _tell(report: "AlignReport") -> None:
    """Print a report for people: the verdict, what it rests on, and the mix of classes."""
    tell(in_options(str(report)))
    tell(report.shift)
    found = report.evidence
    if found is not None:
        tell(
            f"held out, a sample is {found.rise:+.2f} nats likelier (at least {found.low:+.2f}); the ways of aligning "
            f"agree on {found.agreement:.0%}, class-balanced accuracy is expected to change by {100 * found.gain:+.1f} "
            f"points (at least {100 * found.gain_low:+.1f}), and {found.changed:.0%} of the samples are another class "
            "than before"
        )
    table = Table("class", "share in the source", "share here", box=None, padding=(0, 2))
    balance = sorted(report.balance.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    for name, (home, here) in balance[:_MOST]:
        table.add_row(printable(name), f"{home:.1%}", f"{here:.1%}")
    output.print(table)
    if len(balance) > _MOST:
        tell(f"{_MOST} of {many(len(balance), 'class')}: those whose share differs most")
    tell(f"version {report.version} is in use; {report.seconds:.2f} s")
