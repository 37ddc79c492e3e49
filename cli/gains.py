"""`acclimate gains`: what adapting gained and lost at a place, and what transfer saved in labels and time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import InputError
from ..files import refuse_overwrite
from .console import many, output, print_json, printable, progress, tell
from .frames import read_frames, read_values
from .groups import read_groups
from .opening import (
    BundlePath,
    Json,
    Overwrite,
    RuntimeName,
    StorePath,
    open_learner,
    open_regressor,
    store_of,
    task_of,
)
from .signing import Trust
from .values import channels_of, image_of

if TYPE_CHECKING:
    from ..server.report import Report
    from ..server.report import Table as Sheet
    from ..server.understanding.error_place import ErrorPlaceGains
    from ..server.understanding.place_figures import PlaceGains


def gains(
    bundle: BundlePath,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Held-out labelled frames: .npz (x, y), or a folder of images per class.",
        ),
    ],
    store: StorePath = None,
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write, too.")] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            help="Group of each frame, for fairness: .npy, or a text file with one a line. By default 'group' in the "
            ".npz, where it is there.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws", min=0, max=100, help="Draws of the stored samples for the learning curves; 0 for none."
        ),
    ] = 5,
    seconds_per_label: Annotated[
        float, typer.Option("--seconds-per-label", min=0, help="What labelling a sample takes, for the time saved.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Fixes every draw.")] = 0,
    trust: Trust = None,
    runtime: RuntimeName = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Compare the version in use with the shipped head, class by class, and with learning from scratch."""
    if out is not None:
        # Before minutes are spent.
        refuse_overwrite(out, overwrite=overwrite)
    if task_of(bundle) == "regression":
        found: PlaceGains | ErrorPlaceGains = _of_regressor(
            bundle, data, store, groups, draws, seconds_per_label, seed, trust, runtime
        )
    else:
        found = _of_classes(bundle, data, store, groups, draws, seconds_per_label, seed, trust, runtime)
    if out is not None:
        from ..server.report import write_report

        told = (("bundle", bundle.name), ("held-out data", str(data)), ("command", "acclimate gains"))
        write_report(out, _page(found, f"What adapting {bundle.name} gained", told), overwrite=overwrite)
    if json:
        print_json(found.to_dict())
        return
    _tell(found)
    if out is not None:
        tell(f"wrote {out}")


def _of_classes(
    bundle: Path,
    data: Path,
    store: Path | None,
    groups: Path | None,
    draws: int,
    seconds_per_label: float,
    seed: int,
    trust: "list[str] | None",
    runtime: str,
) -> "PlaceGains":
    from ..bundle import Bundle
    from ..server.understanding.place import place_gains
    from ..server.understanding.transfer_curves import BUDGETS

    with Bundle(bundle) as opened:
        spec = opened.manifest.input
    frames, labels, _ = read_frames(data, channels_of(spec), image_of(spec))
    if labels is None:
        raise InputError(
            f"expected labels with the frames of {data.name}, found none. Name them in 'y', or by folders."
        )
    of = read_groups(groups, data, len(frames))
    with (
        open_learner(bundle, store_of(bundle, store), runtime, 1, trusted=trust) as learner,
        progress("learning again, with transfer and without") as bar,
    ):
        return place_gains(
            learner,
            frames,
            labels,
            groups=of,
            budgets=BUDGETS if draws else (),
            draws=max(draws, 1),
            seconds_per_label=seconds_per_label,
            seed=seed,
            progress=bar,
        )


def _of_regressor(
    bundle: Path,
    data: Path,
    store: Path | None,
    groups: Path | None,
    draws: int,
    seconds_per_label: float,
    seed: int,
    trust: "list[str] | None",
    runtime: str,
) -> "ErrorPlaceGains":
    from ..server.understanding.error_curves import ERROR_BUDGETS
    from ..server.understanding.error_place import place_errors

    frames, values = read_values(data)
    if values is None:
        raise InputError(f"expected numbers with the frames of {data.name}, found none. Give them as 'y' in a .npz.")
    of = read_groups(groups, data, len(frames))
    with (
        open_regressor(bundle, store_of(bundle, store), runtime, 1, trust) as regressor,
        progress("learning again, with transfer and without") as bar,
    ):
        return place_errors(
            regressor,
            frames,
            values,
            groups=of,
            budgets=ERROR_BUDGETS if draws else (),
            draws=max(draws, 1),
            seconds_per_label=seconds_per_label,
            seed=seed,
            progress=bar,
        )


def _page(found: "PlaceGains | ErrorPlaceGains", title: str, told: tuple[tuple[str, str], ...]) -> "Report":
    from ..server.understanding.error_page import error_page
    from ..server.understanding.error_place import ErrorPlaceGains
    from ..server.understanding.gains_page import gains_page

    return error_page(found, title, told) if isinstance(found, ErrorPlaceGains) else gains_page(found, title, told)


def _tell(found: "PlaceGains | ErrorPlaceGains") -> None:
    from ..server.understanding.error_place import ErrorPlaceGains

    if isinstance(found, ErrorPlaceGains):
        _tell_errors(found)
    else:
        _tell_classes(found)


def _tell_classes(found: "PlaceGains") -> None:
    from ..server.understanding.gains_tables import change_text, gap_table, recall_table, saving_table, score_table

    change = found.gains.accuracy
    tell(
        f"accuracy {change.before:.1%} as shipped, {change.after:.1%} with version {found.version}: "
        f"{change_text(change)} points on {many(found.gains.samples, 'held-out sample')}"
    )
    for remark in found.remarks:
        tell(remark)
    _show(recall_table(found.gains))
    _show(score_table(found.gains))
    if found.savings:
        _show(saving_table(found))
        tell(str(found.headline))
    if found.fairness is not None:
        _show(gap_table(*found.fairness))


def _tell_errors(found: "ErrorPlaceGains") -> None:
    from ..server.understanding.error_page import error_text
    from ..server.understanding.error_tables import error_saving_table, error_table, part_table

    for one in found.gains.targets:
        tell(f"{error_text(one)} ({many(found.gains.samples, 'held-out sample')}, version {found.version})")
    for remark in found.remarks:
        tell(remark)
    _show(error_table(found.gains))
    for one in found.gains.targets:
        _show(part_table("", one.name, one.ranges))
        if one.groups:
            _show(part_table("", f"{one.name}, by group", one.groups))
    for curves, saved in zip(found.curves, found.savings, strict=True):
        _show(error_saving_table(found, curves, saved))
        tell(f"of {curves.target}: {saved[0]}")


def _show(sheet: "Sheet") -> None:
    from ..server.report import cell_text

    table = Table(*(printable(column.name) for column in sheet.columns), box=None, padding=(0, 2))
    for row in sheet.rows:
        table.add_row(*(printable(cell_text(cell, column)) for cell, column in zip(row, sheet.columns, strict=True)))
    output.print(table)
