"""Which models the converters take: the fixed table of `zoo.toml`, one process a row.

`python -m benchmarks.zoo` runs the quick rows, `--all` every row, names run those. ONNX files are looked for in
installed packages and, with `--wheels FOLDER`, in wheels that were fetched there. Keras rows need TensorFlow, which
may be that of another Python: `--keras PYTHON`. A cell says `yes`, why not, `-` where the table says that it does not
apply, or that it was skipped because a file is missing; skipped cells are in no share.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

TABLE = tomllib.loads((Path(__file__).parent / "zoo.toml").read_text())
COLUMNS: list[str] = TABLE["columns"]
GOAL = 0.9
_SECONDS = 900
_REASON = 400
State = Literal["worked", "failed", "not applicable", "skipped"]


@dataclass(frozen=True)
class Cell:
    """What became of one step for one model.

    Args:
        row: Name of the model.
        column: Name of the step.
        state: Whether it worked.
        note: Why not, or what was found, in one line.
        seconds: Wall time that it took.
    """

    row: str
    column: str
    state: State
    note: str
    seconds: float


def main() -> None:
    """Run rows, print the table and the share of cells that work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="rows to run")
    parser.add_argument("--all", action="store_true", help="run every row")
    parser.add_argument("--wheels", type=Path, help="a folder with wheels that hold ONNX files")
    parser.add_argument("--keras", default=sys.executable, help="a Python with acclimate[keras], for the Keras rows")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="limit for one row")
    parser.add_argument("--json", type=Path, help="write the cells there")
    options = parser.parse_args()
    known = [row["name"] for row in TABLE["row"]]
    if set(options.names) - set(known):
        parser.error(f"expected rows out of {known}, found {sorted(set(options.names) - set(known))}")
    rows = [
        row
        for row in TABLE["row"]
        if (row["name"] in options.names if options.names else options.all or row.get("quick", False))
    ]
    cells: list[Cell] = []
    for row in rows:
        found = run_row(row, options.wheels, options.keras, options.seconds)
        cells += found
        print(f"{row['name']}: {', '.join(f'{cell.column} {cell.state}' for cell in found)}", file=sys.stderr)
    show(cells)
    if options.json:
        options.json.write_text(
            json.dumps({"share": share(cells), "cells": [asdict(cell) for cell in cells]}, indent=2)
        )


def run_row(row: Mapping[str, Any], wheels: Path | None, keras: str, seconds: float) -> list[Cell]:
    """Run one row in a process of its own, which tells of each cell as it is done."""
    name = row["name"]
    python = keras if row["source"] == "keras" else sys.executable
    command = [python, "-m", "benchmarks.zoo_row", name, *(() if wheels is None else (str(wheels),))]
    began, late = time.perf_counter(), ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        told, last = done.stdout, done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    except subprocess.TimeoutExpired as error:
        told = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        last, late = [], f"not done within {seconds:.0f} s for the row"
    found = {cell["column"]: cell for line in told.splitlines() if line.startswith("{") for cell in [json.loads(line)]}
    left = [*TABLE["not_applicable"][row["source"]], *row.get("not_applicable", [])]
    cells: list[Cell] = []
    for column in COLUMNS:
        if column in left:
            cells.append(Cell(name, column, "not applicable", "", 0.0))
        elif column in found:
            cells.append(Cell(name, **found[column]))
        else:
            reason = late or f"the process ended: {last[0]}"
            cells.append(Cell(name, column, "failed", reason[:_REASON], time.perf_counter() - began))
    return cells


def share(cells: Sequence[Cell]) -> float:
    """Return the share of the applicable cells that work, of those that were run."""
    counted = [cell for cell in cells if cell.state in ("worked", "failed")]
    return sum(cell.state == "worked" for cell in counted) / max(len(counted), 1)


def show(cells: Sequence[Cell]) -> None:
    """Print the table, the reasons and the share."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("model", *COLUMNS, "seconds", box=None, padding=(0, 2))
    marks = {"worked": "yes", "failed": "no", "not applicable": "-", "skipped": "skipped"}
    by_row: dict[str, list[Cell]] = {}
    for cell in cells:
        by_row.setdefault(cell.row, []).append(cell)
    for name, row in by_row.items():
        table.add_row(name, *(marks[cell.state] for cell in row), f"{sum(cell.seconds for cell in row):.0f}")
    console.print(table)
    for cell in cells:
        if cell.state in ("failed", "skipped"):
            console.print(f"{cell.row}, {cell.column}: {cell.note}", markup=False, soft_wrap=True)
    counted = [cell for cell in cells if cell.state in ("worked", "failed")]
    worked = sum(cell.state == "worked" for cell in counted)
    console.print(f"{worked} of {len(counted)} applicable cells work: {share(cells):.1%} (goal {GOAL:.0%})")


if __name__ == "__main__":
    main()
