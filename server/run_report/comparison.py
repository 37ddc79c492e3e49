"""What tells runs apart: settings, scores, steps, speed, and whether they were validated on the same samples."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from .folder import RunFolder, TaskScores, read_run
from .page import speed_of
from .record import Samples

_MOST = 15


@dataclass(frozen=True)
class Difference:
    """By how much a run is better than the first one that has the task.

    Args:
        points: Percentage points of accuracy.
        low: Lower end of its 95 % interval, from the counts alone, as if the samples were others.
        high: Upper end.
    """

    points: float
    low: float
    high: float

    @property
    def within_chance(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        """Points with their interval."""
        return f"{self.points:+.2f} points (95 %: {self.low:+.2f} to {self.high:+.2f})"


@dataclass(frozen=True, eq=False)
class TaskComparison:
    """How runs do on one task.

    Args:
        name: Of the task.
        classes: Names of its classes.
        scores: Of each run; None where it has no such task, or no scores yet.
        same_samples: Whether all that have it were validated on the same samples; None where that is not known.
    """

    name: str
    classes: tuple[str, ...]
    scores: tuple[TaskScores | None, ...]
    same_samples: bool | None

    @property
    def first(self) -> int:
        """Place of the run that the others are compared with."""
        return next(place for place, one in enumerate(self.scores) if one is not None)

    def difference(self, place: int) -> Difference | None:
        """Return by how much a run is better than the first; None for that one and where there are no scores."""
        one, base = self.scores[place], self.scores[self.first]
        if one is None or base is None or place == self.first:
            return None
        return difference(one, base)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What tells runs apart.

    Args:
        runs: The runs, in the order they were named.
        names: What they are called, each differently.
        settings: Name, and value in each run, of the settings that differ.
        tasks: How they do on each task.
        verdicts: Where one run has several tasks and others have one of them alone: which is better on it.
    """

    runs: tuple[RunFolder, ...]
    names: tuple[str, ...]
    settings: tuple[tuple[str, tuple[Any, ...]], ...]
    tasks: tuple[TaskComparison, ...]
    verdicts: tuple[str, ...]

    @property
    def samples_told(self) -> str:
        """One sentence on whether scores can be compared."""
        several = [task for task in self.tasks if sum(one is not None for one in task.scores) > 1]
        if not several:
            return "No two of these runs have validation scores of the same task: their scores are not comparable."
        found = {task.same_samples for task in several}
        if found == {True}:
            return "The runs were validated on the same samples."
        if False in found:
            return "The runs were not validated on the same samples: their scores are not comparable."
        return "Whether the runs were validated on the same samples is not known: their scores may not be comparable."

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values for JSON."""
        return {
            "same_samples": self.samples_told,
            "runs": [_plain_run(run, name) for run, name in zip(self.runs, self.names, strict=True)],
            "settings": {name: list(values) for name, values in self.settings},
            "tasks": [_plain_task(task, self.names) for task in self.tasks],
            "verdicts": list(self.verdicts),
        }


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare runs, whether they came to their end or not.

    Args:
        folders: Of the runs, two to fifteen.

    Raises:
        InputError: If one is no folder of a run, or there are fewer or more.
    """
    if not 2 <= len(folders) <= _MOST:
        raise InputError(f"expected 2 to {_MOST} folders of runs, found {len(folders)}. Name each of them.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("expected each run once, found the same folder twice. Name different runs.")
    runs = tuple(map(read_run, folders))
    # Runs of other folders may have the same last name.
    unique = len({run.name for run in runs}) == len(runs)
    names = tuple(run.name if unique else str(run.path) for run in runs)
    tasks = _tasks(runs)
    return Comparison(runs, names, _settings(runs), tasks, _verdicts(runs, names, tasks))


def difference(one: TaskScores, base: TaskScores) -> Difference:
    """Return by how much one score is better than another."""
    a, b = one.metrics, base.metrics
    points = 100 * (a.accuracy - b.accuracy)
    # One more right and one more wrong answer keep the width above 0 where all answers are right (Agresti and Coull).
    shares = [((m.accuracy * m.samples + 2) / (m.samples + 4), m.samples + 4) for m in (a, b)]
    half = 196 * math.sqrt(sum(share * (1 - share) / count for share, count in shares))
    return Difference(points, points - half, points + half)


def _settings(runs: Sequence[RunFolder]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    flat = [
        {f"{part}.{key}": value for part, named in run.config.items() for key, value in named.items()} for run in runs
    ]
    names = dict.fromkeys(name for one in flat for name in one)
    found = ((name, tuple(one.get(name) for one in flat)) for name in names)
    return tuple((name, values) for name, values in found if any(value != values[0] for value in values))


def _tasks(runs: Sequence[RunFolder]) -> tuple[TaskComparison, ...]:
    # Where each run has a single task, what it is called does not matter.
    alone = all(len(run.tasks) <= 1 for run in runs)
    found: dict[tuple[str, tuple[str, ...]], dict[int, int]] = {}
    for number, run in enumerate(runs):
        for place, task in enumerate(run.tasks):
            found.setdefault(("" if alone else task.name, task.classes), {})[number] = place
    compared = []
    for (_, classes), places in found.items():
        scores = tuple(run.tasks[places[i]] if i in places else None for i, run in enumerate(runs))
        name = next(one.name for one in scores if one is not None)
        compared.append(TaskComparison(name, classes, scores, _same([_samples(runs[i], k) for i, k in places.items()])))
    return tuple(compared)


def _samples(run: RunFolder, task: int) -> tuple[Samples, str] | None:
    """Return the validation samples of a task, and the hash of its labels; None where they are not known."""
    samples = None if run.record is None else run.record.validation
    if samples is None or samples.labels is None or task >= len(samples.labels):
        return None
    return samples, samples.labels[task]


def _same(found: Sequence[tuple[Samples, str] | None]) -> bool | None:
    """Return whether samples are the same: by content where that is known of all, else by name; None if unknown."""
    known = [one for one in found if one is not None]
    contents, names = [one.content for one, _ in known], [one.names for one, _ in known]
    told = names if None in contents else contents
    if len(known) < len(found) or None in told:
        return None
    return len(set(told)) == 1 and len({labels for _, labels in known}) == 1


def _verdicts(runs: Sequence[RunFolder], names: Sequence[str], tasks: Sequence[TaskComparison]) -> tuple[str, ...]:
    """Tell whether learning several tasks at once is better than learning one of them alone."""
    told = []
    for task in tasks:
        places = [i for i, one in enumerate(task.scores) if one is not None]
        for several in (i for i in places if len(runs[i].tasks) > 1):
            for single in (i for i in places if len(runs[i].tasks) == 1):
                one, base = task.scores[several], task.scores[single]
                if one is not None and base is not None:
                    told.append(_verdict(task, (names[several], one), (names[single], base)))
    return tuple(told)


def _verdict(task: TaskComparison, several: tuple[str, TaskScores], single: tuple[str, TaskScores]) -> str:
    found = difference(several[1], single[1])
    accuracies = (
        f"{several[1].metrics.accuracy:.2%} in {several[0]} against {single[1].metrics.accuracy:.2%} in {single[0]}"
    )
    if found.points <= 0:
        said = f"multi-task is not better on {task.name}"
    elif found.within_chance:
        said = f"multi-task is not better on {task.name} beyond chance"
    else:
        said = f"multi-task is better on {task.name}"
    doubt = "" if task.same_samples else " Their validation samples are not known to be the same."
    return f"{said}: {accuracies}, {found}.{doubt}"


def _plain_run(run: RunFolder, name: str) -> dict[str, Any]:
    speed = speed_of(run)
    return {
        "name": name,
        "path": str(run.path),
        "ended": run.ended,
        "steps": run.steps,
        "epochs": len(run.records("epoch")),
        "best_step": run.best_step,
        "parameters": None if run.record is None else run.record.parameters,
        "samples_per_second": None if speed is None else speed[0],
        "input_wait": None if speed is None else speed[1],
        "faults": list(run.faults),
    }


def _plain_task(task: TaskComparison, names: Sequence[str]) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for place, (name, one) in enumerate(zip(names, task.scores, strict=True)):
        if one is not None:
            gap = task.difference(place)
            recall = dict(zip(task.classes, one.metrics.recall, strict=True))
            scores[name] = {**asdict(one.metrics), "recall": recall, "difference": None if gap is None else asdict(gap)}
    return {"name": task.name, "same_samples": task.same_samples, "scores": scores}
