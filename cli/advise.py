"""`acclimate advise`: which way of transfer suits a source and a target, or that none does."""

import json as document
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from ..errors import InputError
from ..files import write_file
from .console import output, printable, progress, tell
from .convert_paths import check_paths
from .frames import read_frames
from .opening import Overwrite

if TYPE_CHECKING:
    from ..server.advice import Advice


def advise(
    source: Annotated[
        Path, typer.Option("--source", help="Labelled samples: .npz (x, y), or with --model a folder per class.")
    ],
    target: Annotated[
        Path, typer.Option("--target", help="Samples, labelled in part: .npz (x, y; y -1 or empty without a label).")
    ],
    model: Annotated[
        Path | None, typer.Option("--model", help="Bundle (.acc) that embeds frames; without it x holds features.")
    ] = None,
    groups: Annotated[
        Path | None, typer.Option("--groups", help="Target samples that belong together: .npy, a number for each.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Deals folds and draws.")] = 0,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page, too.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the advice to a JSON file, too.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Say which way of transfer suits a source and a target, or to leave it. Test labels are never looked at."""
    read: dict[str, Path | None] = {"--source": source, "--target": target, "--model": model, "--groups": groups}
    taken = {name: path for name, path in read.items() if path is not None}
    check_paths({"--json": json, "--report": report}, taken, overwrite=overwrite)
    frames, labels, _ = read_frames(source)
    others, some, _ = read_frames(target)
    if labels is None:
        raise InputError(
            f"expected labelled samples in {source}, found none with a label. Save them with numpy.savez(path, x=x, "
            f"y=labels), or put images into one folder per class."
        )
    belongs = None if groups is None else _groups(groups, len(others))
    # torch is heavy: nothing of it is imported before the arguments are known to be good.
    from ..server.advice import advise as advise_arrays

    x, there = _features(frames, model, source), _features(others, model, target)
    with progress("cross-validating") as bar:
        found = advise_arrays(x, labels, there, some, groups=belongs, seed=seed, progress=bar)
    if report is not None:
        from ..server.advice.page import advice_page
        from ..server.report import write_report

        write_report(report, advice_page(found), overwrite=overwrite)
    if json is not None:
        text = document.dumps(found.to_dict(), indent=2, allow_nan=False)
        write_file(json, text.encode() + b"\n", overwrite=overwrite)
    _print(found)
    for path in (report, json):
        if path is not None:
            tell(f"wrote {path}")


def _features(frames: NDArray[Any], model: Path | None, path: Path) -> NDArray[Any]:
    if model is None:
        if frames.ndim != 2:
            raise InputError(
                f"expected features (n, d) in {path}, found samples of shape {frames.shape[1:]}. Name a bundle that "
                f"embeds them: --model BUNDLE."
            )
        return frames
    from ..server.choice.bundle_source import BundleSource

    with progress(f"embedding {path.name}") as bar:
        return BundleSource(model).look(frames, lambda done: bar(done, len(frames))).latents


def _groups(path: Path, n: int) -> NDArray[Any]:
    from ..numpy_files import read_npy

    if not path.is_file() or path.suffix.lower() != ".npy":
        what = path.name if path.is_file() else f"nothing at {path}"
        raise InputError(f"expected a .npy file of groups, found {what}. Write it with numpy.save.")
    found = read_npy(path)
    if found.shape != (n,) or found.dtype.kind not in "iuU":
        raise InputError(
            f"expected a whole number or text for each of {n} target samples in {path}, found {found.dtype} "
            f"{found.shape}. Number the groups."
        )
    return np.asarray(found)


def _print(found: "Advice") -> None:
    from ..server.advice import next_steps
    from ..server.advice.page import candidate_table
    from ..server.report import cell_text

    sheet = candidate_table(found)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, column in enumerate(sheet.columns):
        table.add_column(printable(column.name), justify="left" if place < 2 else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(printable(cell_text(cell, column)) for cell, column in zip(row, sheet.columns, strict=True)))
    output.print(table)
    for line in found.why:
        tell(line)
    for one in found.candidates:
        if one.why_not:
            tell(f"not compared: {one.name}: {one.why_not}")
    for note in found.notes:
        tell(f"note: {note}")
    for step in next_steps(found):
        tell(f"next: {step}")
