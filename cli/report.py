"""`acclimate report`: the page of a run, made again."""

from pathlib import Path
from typing import Annotated

import typer

from .console import tell


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, as pretrain got it as --out.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write; report.html in the folder if none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the page of a run: curves, scores, settings. Also of one that was cut off, or still runs."""
    from ..server.run_report.page import write_page

    # The page in the folder is ours; a file that is named may be another's.
    tell(f"wrote {write_page(run, out, overwrite=overwrite or out is None)}")
