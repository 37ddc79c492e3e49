"""What scores are made of, kept beside the best weights: which classes are confused, and how sure the answers are."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import TrainingError
from ...files import write_file
from .metrics import BINS, Counts

VALIDATION_FILE = "validation.json"
FORMAT = "acclimate-validation"
VERSION = 1
# Of more classes the table of all pairs would be large, and nobody could read it.
MOST_CLASSES = 100
MOST_PAIRS = 100
_MAX_BYTES = 2**25
_MOST_SAMPLES = 2**53
_ADVICE = "Reports leave out what it told."


@dataclass(frozen=True)
class Breakdown:
    """What the scores of one task are made of.

    Args:
        labelled: Samples of each of the k classes.
        answered: How often each was the answer.
        right: How often rightly.
        bins: Samples, right answers and summed confidence in each of 15 bins of confidence of equal width.
        confusion: ``(k, k)`` samples by label and answer; None for more than 100 classes.
        pairs: Label, answer and number of samples of the mistakes that were made most often, at most 100.
    """

    labelled: tuple[int, ...]
    answered: tuple[int, ...]
    right: tuple[int, ...]
    bins: tuple[tuple[int, int, float], ...]
    confusion: tuple[tuple[int, ...], ...] | None
    pairs: tuple[tuple[int, int, int], ...]

    def recall(self, place: int) -> float | None:
        """Return the share of a class that is right; None without samples."""
        return self.right[place] / self.labelled[place] if self.labelled[place] else None

    def precision(self, place: int) -> float | None:
        """Return the share of the answers of a class that is right; None where it was never the answer."""
        return self.right[place] / self.answered[place] if self.answered[place] else None

    def f1(self, place: int) -> float | None:
        """Return the harmonic mean of both; None for a class that occurs neither in labels nor in answers."""
        occurs = self.labelled[place] + self.answered[place]
        return 2 * self.right[place] / occurs if occurs else None


def breakdown_of(counts: Counts) -> Breakdown:
    """Return what counts tell, in plain numbers."""
    confusion, bins = counts.confusion.cpu(), counts.bins.cpu()
    return Breakdown(
        labelled=_whole(confusion.sum(1)),
        answered=_whole(confusion.sum(0)),
        right=_whole(confusion.diagonal()),
        bins=tuple((int(n), int(right), float(confidence)) for n, right, confidence in bins.tolist()),
        confusion=tuple(map(_whole, confusion)) if len(confusion) <= MOST_CLASSES else None,
        pairs=_pairs(confusion),
    )


def write_breakdowns(folder: Path, step: int, tasks: Sequence[Breakdown]) -> None:
    """Write what the scores of weights are made of, beside them.

    Args:
        folder: With the weights.
        step: The step they are of.
        tasks: One for each task.
    """
    plain = {"format": FORMAT, "version": VERSION, "step": step, "tasks": [asdict(task) for task in tasks]}
    write_file(folder / VALIDATION_FILE, json.dumps(plain, allow_nan=False).encode() + b"\n")


def read_breakdowns(folder: Path) -> tuple[Breakdown, ...]:
    """Read what `write_breakdowns` wrote; nothing where there is none, as of runs of earlier versions.

    Raises:
        TrainingError: If it is damaged, or none of ours.
    """
    path = folder / VALIDATION_FILE
    if not path.is_file():
        return ()
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"expected JSON in {path}, found that {error}. {_ADVICE}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise TrainingError(f"expected {FORMAT} {VERSION} in {path}, found another file. {_ADVICE}")
    tasks = found.get("tasks")
    if not isinstance(tasks, list):
        raise TrainingError(f"expected tasks in {path}, found {tasks!r:.60}. {_ADVICE}")
    return tuple(_checked(task, path) for task in tasks)


def _whole(counts: Tensor) -> tuple[int, ...]:
    return tuple(int(count) for count in counts.tolist())


def _pairs(confusion: Tensor) -> tuple[tuple[int, int, int], ...]:
    found = confusion.nonzero()
    found = found[found[:, 0] != found[:, 1]]
    # Ties by place, whatever the order in which a sort leaves them.
    counts, order = confusion[found[:, 0], found[:, 1]].sort(descending=True, stable=True)
    chosen = zip(found[order[:MOST_PAIRS]].tolist(), counts.tolist(), strict=False)
    return tuple((label, answer, int(count)) for (label, answer), count in chosen)


def _checked(task: Any, path: Path) -> Breakdown:
    """Return what a file holds of a task, or refuse it."""
    found = task if isinstance(task, dict) else {}
    labelled, answered, right = (_counts(found.get(name), path) for name in ("labelled", "answered", "right"))
    size = len(labelled)
    pairs = tuple(_counts(pair, path) for pair in _list(found.get("pairs"), path, MOST_PAIRS))
    table = found.get("confusion")
    confusion = None if table is None else tuple(_counts(row, path) for row in _list(table, path, MOST_CLASSES))
    if (
        not size == len(answered) == len(right)
        or any(hit > min(n, said) for hit, n, said in zip(right, labelled, answered, strict=True))
        or not all(len(pair) == 3 and max(pair[:2]) < size for pair in pairs)
        or (confusion is not None and (len(confusion) != size or any(len(row) != size for row in confusion)))
    ):
        raise TrainingError(f"expected counts of the same classes in {path}, found that they do not fit. {_ADVICE}")
    return Breakdown(
        labelled,
        answered,
        right,
        tuple(_bin(one, path) for one in _list(found.get("bins"), path, BINS)),
        confusion,
        tuple((label, answer, count) for label, answer, count in pairs),
    )


def _bin(one: Any, path: Path) -> tuple[int, int, float]:
    parts: list[Any] = one if isinstance(one, list) and len(one) == 3 else [None] * 3
    (samples, right), confidence = _counts(parts[:2], path), parts[2]
    # Sums of shares may go beyond the number of samples by rounding.
    if right > samples or type(confidence) not in (int, float) or not 0 <= confidence <= 1.001 * samples:
        raise TrainingError(f"expected samples, right answers and confidence in {path}, found {one!r:.60}. {_ADVICE}")
    return samples, right, float(confidence)


def _counts(found: Any, path: Path) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(type(n) is int and 0 <= n < _MOST_SAMPLES for n in found):
        raise TrainingError(f"expected counts in {path}, found {found!r:.60}. {_ADVICE}")
    return tuple(found)


def _list(found: Any, path: Path, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise TrainingError(f"expected at most {most} entries in {path}, found {found!r:.60}. {_ADVICE}")
    return found
