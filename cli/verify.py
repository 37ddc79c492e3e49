"""`acclimate verify`: every transfer method against closed forms, other libraries and published rows."""

import json as document
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ..files import write_file
from .console import many, output, printable, progress, tell
from .convert_paths import check_paths
from .opening import Overwrite

if TYPE_CHECKING:
    from ..server.verify import Outcome

_OFF = 1


def verify(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with office_caltech_surf.npz, usps_mnist.npz or both: published features."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write what came out to a JSON file, too.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Check every transfer method against what is known of it. Exit code 1 if something is off."""
    check_paths({"--json": json}, {}, overwrite=overwrite)
    # torch and scikit-learn are heavy: nothing of them is imported before the arguments are known to be good.
    from ..server.verify import FILES, identities, left_out, published_rows, run_checks

    rows, missing = ((), tuple(FILES)) if data is None else published_rows(data)
    with progress("checking") as bar:
        outcomes = run_checks((*identities(), *rows), bar)
    _print(outcomes)
    if missing:
        tell(
            f"skipped: published rows of {' and '.join(missing)}. To check them too, put the published features into a "
            f"folder under that name and give it with --data."
        )
    for one in (absent := left_out()):
        tell(f"skipped: {one}.")
    if json is not None:
        found = {"holds": all(one.holds for one in outcomes), "skipped": [*missing, *absent]}
        text = document.dumps({**found, "checks": [one.to_dict() for one in outcomes]}, indent=2, allow_nan=False)
        write_file(json, text.encode() + b"\n", overwrite=overwrite)
        tell(f"wrote {json}")
    if not all(one.holds for one in outcomes):
        raise typer.Exit(_OFF)


def _print(outcomes: Sequence["Outcome"]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("method", "what is known", "source", "expected", "found", "tolerance", ""):
        right = column in ("expected", "found", "tolerance")
        table.add_column(column, justify="right" if right else "left", no_wrap=right)
    for one in outcomes:
        cells = (one.check.method, one.check.claim, one.check.source, *one.shown, "holds" if one.holds else "OFF")
        table.add_row(*map(printable, cells))
    output.print(table)
    off = [one for one in outcomes if not one.holds]
    for one in off:
        tell(f"off: {one.check.method}, {one.check.claim}{': ' if one.note else ''}{one.note}")
    seconds = sum(one.seconds for one in outcomes)
    tell(f"{len(outcomes) - len(off)} of {many(len(outcomes), 'check')} hold; {seconds:.0f} s of processor time.")
