"""Labels as texts become places among the classes."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import LabelError
from .found import UNLABELLED, Found
from .split import Task


def name_tasks(
    names: Sequence[str], columns: Sequence[Iterable[str]], classes: tuple[str, ...], known: tuple[str, ...] = ()
) -> tuple[Task, ...]:
    """Return the tasks with their classes.

    Args:
        names: Name of each task.
        columns: Labels of the training data that occur, for each task.
        classes: Classes of a single task in their order, as the settings give them; empty takes those that occur,
            sorted: numbers by their value.
        known: Classes of the first task that are there without samples.
    """
    if classes:
        return (Task(names[0], classes),)
    occurring = [set(column) - {UNLABELLED} for column in columns]
    occurring[0] |= set(known)
    return tuple(Task(name, _ordered(found)) for name, found in zip(names, occurring, strict=True))


def encode(found: Found, tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Return labels as places among the classes: ``(n,)``, or ``(n, tasks)`` for several; -1 for unlabelled.

    Raises:
        LabelError: If a label is none of the classes; the message names the sample.
    """
    columns: list[NDArray[np.int64]] = []
    for column, task in zip(found.labels, tasks, strict=True):
        places = {name: i for i, name in enumerate(task.classes)}
        if _are_places(column, places):
            places = {str(i): i for i in range(len(task.classes))}
        places[UNLABELLED] = -1
        codes = np.fromiter((places.get(label, -2) for label in column), np.int64, len(column))
        if (codes == -2).any():
            row = int(np.flatnonzero(codes == -2)[0])
            raise LabelError(
                f"{found.names[row]}: expected a label out of {_listed(task.classes)}, found {column[row]!r} "
                f"({int((codes == -2).sum())} samples have such). Mend it, or name all in data.classes."
            )
        columns.append(codes)
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def _are_places(column: Sequence[str], places: dict[str, int]) -> bool:
    """Whether labels are numbers where the settings give names: then they are places in that list."""
    occurring = set(column) - {UNLABELLED}
    return bool(occurring) and not occurring & set(places) and all(_whole(label) for label in occurring)


def _ordered(names: set[str]) -> tuple[str, ...]:
    if all(_whole(name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(map(repr, classes[:8]))
    return shown + (f" and {len(classes) - 8} more" if len(classes) > 8 else "")
