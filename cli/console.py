"""What the commands print: results to standard output, progress and errors to standard error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
errors = Console(stderr=True, highlight=False, soft_wrap=True)
# Names of classes, keys and files stand as they are, whatever they hold.
output = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, one document, keys in the given order."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_row(*cells: object) -> None:
    """Print cells with tabs between them, for `cut` and `awk`; rich would make blanks of the tabs."""
    sys.stdout.write("\t".join(map(str, cells)) + "\n")


def fail(message: str, code: int) -> NoReturn:
    """Print one line to standard error and leave."""
    errors.print("error:", style="bold red", end=" ")
    errors.print(" ".join(message.split()), markup=False)
    raise SystemExit(code)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show a bar on standard error, where that is a terminal.

    Yields:
        What to call with the number of steps done and of all.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        task = bars.add_task(title, total=None)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield report


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def many(count: int, noun: str) -> str:
    """Return a number and what it counts: "1 sample", "2 samples"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def say(plain: Any, text: str, *, json: bool) -> None:
    """Print an outcome: as JSON, or as a line for people."""
    if json:
        print_json(plain)
    else:
        output.print(text)
