"""Reports: one HTML page that needs nothing but itself, from plain dataclasses."""

import itertools
import os
from dataclasses import dataclass
from importlib import resources

import jinja2

from ..errors import InputError, OutputExistsError
from ..files import write_file
from .plots import Drawing, Key, Plot, draw, legend

Cell = str | int | float


@dataclass(frozen=True)
class Fact:
    """One figure that stands out.

    Args:
        label: What it is.
        value: The figure with its unit, as it is shown.
        note: What to compare it with.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        name: Its heading.
        form: How numbers are written, as in ``format(value, form)``, for example ``".1%"``.
        wraps: Whether its texts may take several lines.
    """

    name: str
    form: str = ""
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it shows.
        columns: Its columns.
        rows: One cell per column; numbers are written in the column's form, text as it is.
        note: What a reader should know, below the table.
        folded: Whether it is shown only when a reader opens it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        title: Its heading.
        text: What it says before its tables and plots.
        blocks: Tables and plots, in order.
    """

    title: str
    text: str = ""
    blocks: tuple[Table | Plot, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report.

    Args:
        title: What it is about.
        summary: Its result, in one or two sentences.
        facts: The figures that stand out.
        sections: Its parts.
        provenance: Name and value of what it was made with: data, versions, machine, command.
    """

    title: str
    summary: str = ""
    facts: tuple[Fact, ...] = ()
    sections: tuple[Section, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Figure:
    title: str
    drawings: tuple[Drawing, ...]
    legend: tuple[Key, ...]
    note: str


@dataclass(frozen=True)
class _Grid:
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    folded: bool
    headed: bool


def render_report(report: Report) -> str:
    """Return a report as HTML that refers to nothing outside of itself.

    Raises:
        InputError: If the numbers of a table or a plot do not fit each other.
    """
    numbers = itertools.count(1)
    sections = [
        (section, [_lay_out(block, f"plot{next(numbers)}-") for block in section.blocks]) for section in report.sections
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text("utf-8"))
    return template.render(report=report, sections=sections)


def write_report(path: str | os.PathLike[str], report: Report, *, overwrite: bool = False) -> None:
    """Write a report as one HTML file, at once or not at all.

    Args:
        path: Where to write.
        report: What to write.
        overwrite: Replace a file that is there.

    Raises:
        OutputExistsError: If the file is there and `overwrite` is false.
        InputError: If the numbers of a table or a plot do not fit each other.
        OSError: If it cannot be written; it names the file, and what was there stays.
    """
    content = render_report(report).encode(errors="replace")
    try:
        write_file(path, content, overwrite=overwrite)
    except OutputExistsError:
        raise
    except OSError as error:
        # That of a full disk names no file.
        error.filename = error.filename or os.fspath(path)
        raise


def cell_text(cell: Cell, column: Column) -> str:
    """Return what a table shows in a cell."""
    return cell if isinstance(cell, str) else format(cell, column.form)


def _lay_out(block: Table | Plot, prefix: str) -> _Grid | _Figure:
    if isinstance(block, Table):
        return _lay_out_table(block)
    return _Figure(block.title, draw(block, prefix=prefix), legend(block), block.note)


def _lay_out_table(table: Table) -> _Grid:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise InputError(f"expected {len(table.columns)} cells in each row of {table.title!r}, found {len(row)}.")
    found = tuple(zip(*table.rows, strict=True)) or tuple(() for _ in table.columns)
    kinds = [
        "number" if any(not isinstance(cell, str) for cell in cells) else "wraps" if column.wraps else ""
        for cells, column in zip(found, table.columns, strict=True)
    ]
    return _Grid(
        table.title,
        tuple((column.name, kind) for column, kind in zip(table.columns, kinds, strict=True)),
        tuple(
            tuple(cell_text(cell, column) for cell, column in zip(row, table.columns, strict=True))
            for row in table.rows
        ),
        table.note,
        table.folded,
        any(column.name for column in table.columns),
    )
