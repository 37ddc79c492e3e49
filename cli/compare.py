"""`acclimate compare`: runs of pretraining side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .console import output, print_json, printable, tell

if TYPE_CHECKING:
    from ..server.report import Table as Sheet


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs; the first is what the others are compared with.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write, too.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare runs: settings that differ, scores, steps, speed. Works on runs that were cut off, too."""
    from ..server.run_report import compare_page
    from ..server.run_report.comparison import compare_runs

    found = compare_runs(runs)
    if out is not None:
        from ..server.report import write_report

        write_report(out, compare_page.comparison_page(found), overwrite=overwrite)
    if json:
        print_json(found.to_dict())
        return
    tell(found.samples_told)
    for task in found.tasks:
        _show(compare_page.score_table(found, task))
    for verdict in found.verdicts:
        tell(verdict)
    _show(compare_page.cost_table(found))
    _show(compare_page.settings_that_differ(found))
    for name, run in zip(found.names, found.runs, strict=True):
        for fault in run.faults:
            tell(f"warning: {name}: {fault}")
    if out is not None:
        tell(f"wrote {out}")


def _show(sheet: "Sheet") -> None:
    """Print a table of a report."""
    from ..server.report import cell_text

    tell("")
    tell(sheet.title)
    if sheet.rows:
        table = Table(*(printable(column.name) for column in sheet.columns), box=None, padding=(0, 2))
        for row in sheet.rows:
            table.add_row(
                *(printable(cell_text(cell, column)) for cell, column in zip(row, sheet.columns, strict=True))
            )
        output.print(table)
    else:
        tell(sheet.note)
