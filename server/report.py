"""Reports: one HTML page that needs nothing but itself, from plain dataclasses."""

import itertools
import os
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from ..errors import InputError
from ..files import refuse_overwrite
from .plots import Drawing, Plot, draw, legend

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
    """

    name: str
    form: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it shows.
        columns: Its columns.
        rows: One cell per column; numbers are written in the column's form, text as it is.
        note: What a reader should know, below the table.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


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
    legend: tuple[tuple[str, str], ...]
    note: str


@dataclass(frozen=True)
class _Grid:
    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


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
    """
    target = Path(path)
    refuse_overwrite(target, overwrite=overwrite)
    content = render_report(report).encode()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        # mkstemp makes a private file; a report is one that others may read.
        os.chmod(temporary, 0o644)
        refuse_overwrite(target, overwrite=overwrite)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _lay_out(block: Table | Plot, prefix: str) -> _Grid | _Figure:
    if isinstance(block, Table):
        return _lay_out_table(block)
    return _Figure(block.title, draw(block, prefix=prefix), legend(block), block.note)


def _lay_out_table(table: Table) -> _Grid:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise InputError(f"expected {len(table.columns)} cells in each row of {table.title!r}, found {len(row)}.")
    cells = tuple(zip(*table.rows, strict=True)) or tuple(() for _ in table.columns)
    numeric = [any(not isinstance(cell, str) for cell in column) for column in cells]
    return _Grid(
        table.title,
        tuple((column.name, right) for column, right in zip(table.columns, numeric, strict=True)),
        tuple(
            tuple(
                cell if isinstance(cell, str) else format(cell, column.form)
                for cell, column in zip(row, table.columns, strict=True)
            )
            for row in table.rows
        ),
        table.note,
    )
