"""What the commands print: results to standard output, progress and errors to standard error."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .wording import in_options

Report = Callable[[int, int], None]
errors = Console(stderr=True, highlight=False, soft_wrap=True)
# Names of classes, keys and files hold no markup, whatever they hold.
output = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
# Columns of a table that goes to a file or a pipe, which has no edge.
_ENDLESS = 10_000


def prepare() -> None:
    """Set the streams so that every text can be printed in full: in any encoding, at full width without a terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not output.is_terminal:
        output.width = _ENDLESS


def printable(text: object) -> str:
    """Return a text with everything escaped that does not show.

    Names, keys and licences come from files of others: escape sequences in them would steer the terminal, and a line
    break would look like a line of ours.
    """
    return _escaped(str(text), lambda c: c.encode("unicode_escape").decode())


def tell(text: object) -> None:
    """Print a line for people."""
    output.print(printable(text))


def note(text: str) -> None:
    """Print one line to standard error that is no error."""
    errors.print(printable(text), markup=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, one document, keys in the given order."""
    readable = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not readable, allow_nan=False)
    # JSON leaves some controls of a terminal as they are.
    lines = [_escaped(line, lambda c: json.dumps(c)[1:-1]) for line in text.split("\n")]
    sys.stdout.write("\n".join(lines) + "\n")


def print_row(*cells: object) -> None:
    """Print cells with tabs between them, for `cut` and `awk`; rich would make blanks of the tabs."""
    sys.stdout.write("\t".join(map(printable, cells)) + "\n")


def fail(message: str, code: int) -> NoReturn:
    """Print one line to standard error and leave."""
    errors.print("error:", style="bold red", end=" ")
    errors.print(printable(" ".join(in_options(message).split())), markup=False)
    raise SystemExit(code)


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else escape(c) for c in text)


def bars(*more: ProgressColumn, shown: bool = True) -> Progress:
    """Return bars on standard error, which only appear where that is a terminal.

    Args:
        more: Columns behind the usual ones.
        shown: Whether they may appear at all.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        *more,
    )
    return Progress(*columns, console=errors, transient=True, disable=not (shown and errors.is_terminal))


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show a bar.

    Yields:
        What to call with the number of steps done and of all.
    """
    with bars() as drawn:
        task = drawn.add_task(title, total=None)

        def report(done: int, total: int) -> None:
            drawn.update(task, completed=done, total=total)

        yield report


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def many(count: int, noun: str) -> str:
    """Return a number and what it counts: "1 sample", "2 samples", "3 classes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def say(plain: Any, text: str, *, json: bool) -> None:
    """Print an outcome: as JSON, or as a line for people."""
    if json:
        print_json(plain)
    else:
        tell(text)
