"""`acclimate gains`: what adapting gained and lost at a place, and what transfer saved in labels and time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import InputError
from ..files import refuse_overwrite
from ..numpy_files import open_npz, read_npy
from .console import many, output, print_json, printable, progress, tell
from .frames import read_frames
from .opening import BundlePath, Json, RuntimeName, StorePath, no_classes, open_learner, store_of, task_of
from .signing import Trust
from .values import channels_of, image_of

if TYPE_CHECKING:
    from ..server.report import Table as Sheet
    from ..server.understanding.place import PlaceGains

_MOST_BYTES = 2**24


def gains(
    bundle: BundlePath,
    data: Annotated[
        Path, typer.Option("--data", help="Held-out labelled frames: .npz (x, y), or a folder of images per class.")
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
    json: Json = False,
) -> None:
    """Compare the version in use with the shipped head, class by class, and with learning from scratch."""
    if out is not None:
        # Before minutes are spent.
        refuse_overwrite(out, overwrite=False)
    if task_of(bundle) == "regression":
        raise no_classes(bundle, "The report of `acclimate adapt` tells the errors before and after.")
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
        found = place_gains(
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
    if out is not None:
        from ..server.report import write_report
        from ..server.understanding.gains_page import gains_page

        told = (("bundle", bundle.name), ("held-out data", str(data)), ("command", "acclimate gains"))
        write_report(out, gains_page(found, f"What adapting {bundle.name} gained", told))
    if json:
        print_json(found.to_dict())
        return
    _tell(found)
    if out is not None:
        tell(f"wrote {out}")


def read_groups(path: Path | None, data: Path, n: int) -> list[str] | None:
    """Read the group of each frame.

    Args:
        path: Where it stands; None for ``group`` in the data, where that is a .npz file that has it.
        data: The data.
        n: Number of frames.

    Raises:
        InputError: If there are others than one for each frame, or the file cannot be read.
    """
    if path is None:
        if data.suffix.lower() != ".npz":
            return None
        with open_npz(data, ("group",)) as loaded:
            if "group" not in loaded:
                return None
            found, name = loaded["group"], data.name
    elif path.suffix.lower() == ".npy":
        found, name = read_npy(path), path.name
    else:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(
                f"{path.name}: expected a line for each of {many(n, 'frame')}, at most {_MOST_BYTES >> 20} MB, found "
                f"more. Number the groups."
            )
        try:
            # Some editors begin a file with a mark of its encoding.
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path.name}: expected a text file in UTF-8, found that {error}.") from error
        if not all(line.strip() for line in lines):
            empty = next(i for i, line in enumerate(lines, 1) if not line.strip())
            raise InputError(f"{path.name}: expected a group in every line, found none in line {empty}. Name it.")
        if len(lines) != n:
            raise InputError(f"{path.name}: expected a line for each of {many(n, 'frame')}, found {len(lines)}.")
        return lines
    if found.shape != (n,) or found.dtype.kind not in "iuU":
        raise InputError(
            f"{name}: expected groups as texts or whole numbers, one for each of {many(n, 'frame')}, found "
            f"{found.dtype} {found.shape}."
        )
    return [str(one) for one in found.tolist()]


def _tell(found: "PlaceGains") -> None:
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


def _show(sheet: "Sheet") -> None:
    from ..server.report import cell_text

    table = Table(*(printable(column.name) for column in sheet.columns), box=None, padding=(0, 2))
    for row in sheet.rows:
        table.add_row(*(printable(cell_text(cell, column)) for cell, column in zip(row, sheet.columns, strict=True)))
    output.print(table)
