"""Read a .csv file: named columns of texts, each row as long as the first."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class CsvTable:
    """Columns of a .csv file.

    Args:
        path: The file.
        columns: Texts by name of their column, without spaces around them.
        lines: Line of the file that each row ends at, for messages.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)

    def column(self, name: str, what: str) -> list[str]:
        """Return a column.

        Args:
            name: Its name.
            what: Which setting names it, for the message.

        Raises:
            InputError: If there is none of that name.
        """
        if name not in self.columns:
            raise InputError(
                f"{self.path.name}: expected a column {name!r} ({what}), found {', '.join(self.columns)}. Mend {what}."
            )
        return self.columns[name]

    def name(self, row: int) -> str:
        """Return the name of a row in messages."""
        return f"{self.path.name}:{self.lines[row]}"

    def numbers(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return columns ``(n, d) float32``.

        Raises:
            InputError: If a cell is no finite number; the message names line and column.
        """
        found = np.empty((len(self), len(names)), np.float32)
        for j, name in enumerate(names):
            cells = self.column(name, "data.features")
            numbers = np.fromiter(map(_number, cells), np.float64, len(cells))
            if not np.isfinite(numbers).all():
                row = int(np.flatnonzero(~np.isfinite(numbers))[0])
                raise InputError(
                    f"{self.name(row)}: expected a finite number in column {name!r}, found {cells[row][:40]!r}. Mend "
                    f"the cell, take the row out, or name other columns in data.features."
                )
            found[:, j] = numbers
        return found


def read_csv(path: Path) -> CsvTable:
    """Read a .csv file, UTF-8, with the names of its columns in the first line; the separator is told from that line.

    Raises:
        InputError: If it is no such file; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"expected a .csv file, found none at {path}. Check the path.")
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            separator = max(",;\t", key=header.count)
            reader = csv.reader(file, delimiter=separator, strict=True)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise InputError(
                        f"{path.name}:{reader.line_num}: expected {len(names)} cells, as the first line has names, "
                        f"found {len(cells)}. Mend the line."
                    )
                rows.append([cell.strip() for cell in cells])
                lines.append(reader.line_num)
    except (csv.Error, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: expected a .csv file in UTF-8, found that {error}. Save it anew.") from error
    if not names or not rows:
        raise InputError(
            f"{path.name}: expected a line of names and lines of values, found {len(rows)} lines of values."
        )
    if len(set(names)) < len(names) or "" in names:
        raise InputError(
            f"{path.name}: expected a name of its own for each column, found {names}. Mend the first line."
        )
    return CsvTable(path, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), lines)


def _number(cell: str) -> float:
    """Return the number in a cell, NaN for none that float32 holds."""
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if abs(number) <= _LARGEST and "_" not in cell else math.nan
