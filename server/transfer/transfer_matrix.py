"""The transfer matrix: how well each task is learnt from a model of each other one, and what follows from it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Task = TypeVar("Task")
Model = TypeVar("Model")
Progress = Callable[[int, int], None]

# All groupings of more tasks than these would take minutes.
_MOST_TASKS = 10


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Scores of every task from every source, larger is better.

    Args:
        names: Of the tasks.
        scores: ``(k, k) float64``: in row i and column j the score of task j after transfer from task i.
        alone: ``(k,) float64`` scores without transfer.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    alone: NDArray[np.float64]

    @property
    def gains(self) -> NDArray[np.float64]:
        """``(k, k)`` what each source adds to each task; 0 from the task itself."""
        gains = self.scores - self.alone
        np.fill_diagonal(gains, 0)
        return gains

    def best_source(self, task: str) -> str | None:
        """Return the source that a task gains most from, or None where none helps: then do not transfer.

        Raises:
            InputError: If there is no such task.
        """
        if task not in self.names:
            raise InputError(f"expected one of the tasks {', '.join(self.names)}, found {task!r}.")
        gains = self.gains[:, self.names.index(task)]
        best = int(np.argmax(gains))
        return self.names[best] if gains[best] > 0 else None


def transfer_matrix(
    names: Sequence[str],
    tasks: Sequence[Task],
    train: Callable[[Task], Model],
    transfer: Callable[[Model, Task], float],
    alone: Callable[[Task], float],
    *,
    progress: Progress | None = None,
) -> TransferMatrix:
    """Measure how well each task is learnt from a model of each other one.

    Args:
        names: Of the tasks.
        tasks: The tasks, as the functions take them.
        train: Makes a model of a task.
        transfer: Fine-tunes a copy of a model on a task, and returns its score there, on samples that it did not see.
        alone: The score of a task that is learnt without transfer, on as many samples.
        progress: Called with models and scores done and their number in total.

    Raises:
        InputError: If names and tasks do not fit each other, or a score is not finite.

    References:
        Zamir et al. 2018, "Taskonomy: disentangling task transfer learning".
    """
    count = len(tasks)
    if count < 2 or len(names) != count or len(set(names)) < count:
        raise InputError(f"expected two tasks or more with a name of its own each, found {count} and {list(names)}.")
    total, done = count * (count + 1), 0
    scores, own = np.zeros((count, count)), np.zeros(count)
    for row, source in enumerate(tasks):
        model = train(source)
        own[row] = alone(source)
        scores[row, row] = own[row]
        for column, target in enumerate(tasks):
            if column != row:
                scores[row, column] = transfer(model, target)
            done += 1
            if progress is not None:
                progress(done, total)
        done += 1
        if progress is not None:
            progress(done, total)
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"expected finite scores, found {scores[row, column]} from {names[row]} to {names[column]}.")
    return TransferMatrix(tuple(names), scores, own)


def best_grouping(gains: NDArray[np.float64], *, groups: int) -> tuple[tuple[int, ...], ...]:
    """Return which tasks to learn together, by trying all ways.

    A task's value is its mean gain from the others of its group, 0 alone; the sum over tasks is as large as can be. Of
    equal ways the one of the fewest groups is taken, then the first.

    Args:
        gains: ``(k, k)``: in row i and column j what learning with task i does for task j; the diagonal does not count.
        groups: Most groups, one model each.

    Raises:
        InputError: If `gains` is not square and finite, there are more than 10 tasks, or no group.

    References:
        Standley et al. 2020, "Which tasks should be learned together in multi-task learning?"; Fifty et al. 2021,
        "Efficiently identifying task groupings for multi-task learning".
    """
    found = np.asarray(gains, np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not 1 <= len(found) <= _MOST_TASKS or groups < 1:
        raise InputError(
            f"expected gains (k, k) of 1 to {_MOST_TASKS} tasks and one group or more, found {found.shape} and "
            f"{groups}."
        )
    if not np.isfinite(found).all():
        raise InputError("expected finite gains, found NaN or infinity.")
    values = {group: _value(found, group) for group in _subsets(len(found))}
    ways = sorted(_partitions(tuple(range(len(found))), groups), key=lambda way: (len(way), way))
    # Sums of the same gains in another order differ by rounding.
    return max(ways, key=lambda way: round(sum(values[group] for group in way), 12))


def _value(gains: NDArray[np.float64], group: tuple[int, ...]) -> float:
    if len(group) == 1:
        return 0.0
    part = gains[np.ix_(group, group)]
    return float(part.sum() - np.trace(part)) / (len(group) - 1)


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, count + 1):
        yield from combinations(range(count), size)


def _partitions(tasks: tuple[int, ...], groups: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not tasks:
        yield ()
        return
    if not groups:
        return
    first, rest = tasks[0], tasks[1:]
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            left = tuple(task for task in rest if task not in others)
            for way in _partitions(left, groups - 1):
                yield ((first, *others), *way)
