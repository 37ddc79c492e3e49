"""`acclimate rank`: which source to start from, by a target's labelled samples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from ..errors import InputError
from .console import many, note, output, print_json, printable, progress, tell
from .convert import _size
from .convert_paths import check_paths
from .frames import read_frames
from .model_source import SOURCES, Code, is_trained
from .opening import Overwrite

if TYPE_CHECKING:
    from ..server.choice import Ranking


def rank(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=f"Bundles (.acc), or models. {SOURCES}")],
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Labelled samples of the target: .npz (x, y) or a folder of images, one per class."
        ),
    ],
    taps: Annotated[
        str,
        typer.Option("--taps", help="Of models: all, last, or module names with commas between. Bundles have theirs."),
    ] = "all",
    code: Code = None,
    resize: Annotated[
        str | None, typer.Option("--resize", help="HEIGHTxWIDTH that models take, if frames have another size.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Deals the samples of cross-validation.")] = 0,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page, too.")] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Rank sources for a target, with the accuracy to expect of each. Nothing is trained."""
    if code is not None and not any(map(is_trained, sources)):
        raise InputError(
            f"expected --code only with the folder of a run or of its checkpoint, found it with {', '.join(sources)}. "
            f"Leave --code out, or check the paths."
        )
    target = _size(resize)
    for option, given in (("--taps", taps != "all"), ("--resize", resize is not None)):
        if given and all(source.endswith(".acc") for source in sources):
            raise InputError(f"expected {option} only with models, found bundles alone. Leave {option} out.")
    read = {f"the source {source}": source for source in sources}
    check_paths({"--report": report}, {"--data": data, **read}, overwrite=overwrite)
    frames, labels = _labelled(data)
    # torch is heavy: nothing of it is imported before the arguments are known to be good.
    from ..server.choice import rank_sources

    chosen = taps if taps in ("all", "last") else taps.split(",")
    with progress("embedding") as bar:
        found = rank_sources(sources, frames, labels, taps=chosen, code=code, resize=target, seed=seed, progress=bar)
    if report is not None:
        from ..server.choice.page import ranking_page
        from ..server.report import write_report

        write_report(report, ranking_page(found), overwrite=overwrite)
    if json:
        print_json(found.to_dict())
        return
    _print(found)
    if report is not None:
        tell(f"wrote {report}")


def _labelled(data: Path) -> tuple[NDArray[np.generic], list[str]]:
    """Read the samples that have a label, which -1 and an empty text are none of, as for `acclimate advise`."""
    frames, labels, _ = read_frames(data)
    kept = [row for row, label in enumerate(labels or ()) if label.strip() not in ("", "-1")]
    if labels is None or not kept:
        raise InputError(
            f"expected labelled samples in {data}, found none with a label. Save them with numpy.savez(path, x=frames, "
            f"y=labels), or put images into one folder per class."
        )
    if len(kept) == len(labels):
        return frames, labels
    note(f"{many(len(labels) - len(kept), 'sample')} without a label were left out")
    return frames[kept], [labels[row] for row in kept]


def _print(found: "Ranking") -> None:
    from ..server.choice.page import agreement_told, ranking_table
    from ..server.report import cell_text

    sheet = ranking_table(found)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in sheet.columns:
        table.add_column(printable(column.name), justify="left" if column.name == "source" else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(printable(cell_text(cell, column)) for cell, column in zip(row, sheet.columns, strict=True)))
    output.print(table)
    told = f"{many(found.samples, 'sample')} of {many(len(found.classes), 'class')}"
    tell(f"{told}, the largest {found.largest_class:.1%}.")
    tell(sheet.note)
    if said := agreement_told(found):
        tell(said)
    for source in found.sources:
        for one in source.notes:
            tell(f"{source.name}: {one}")
    for warning in found.warnings:
        tell(f"warning: {warning}")
