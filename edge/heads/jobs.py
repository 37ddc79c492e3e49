"""Jobs of cross-validation: the settings that are tried together since they share a decomposition."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...record import record
from .closed import ClosedForm
from .held_out import Folds
from .problem import Float64, Head, Problem, Setting, Weights


@record(eq=False)
class Job:
    """Settings that are tried together.

    Args:
        parts: Heads, each with its settings. Several heads are all in closed form, at the same strengths and source
            weight.
    """

    parts: tuple[tuple[Head, tuple[Setting, ...]], ...]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, in the order in which logits come."""
        return tuple(setting for _, some in self.parts for setting in some)

    def logits(self, folds: Folds) -> Iterator[Float64]:
        """Predict each fold from the others.

        Yields:
            Of each fold ``(r, b + p, k)`` logits, by each setting, of its samples and of the probes.
        """
        head, settings = self.parts[0]
        if isinstance(head, ClosedForm):
            heads = [head for head, _ in self.parts if isinstance(head, ClosedForm)]
            strengths = np.array([head.strength(setting) for setting in settings])
            for found in folds.logits(heads, strengths, settings[0].source_weight):
                yield found[0] if len(found) == 1 else np.concatenate(found)
            return
        for rows in folds.held:
            # The copy that a fold is trained on is gone before the next is made.
            yield _predicted(head.solve(_without(folds.problem, rows), settings, draft=True), folds, rows)


def _without(problem: Problem, rows: NDArray[np.intp]) -> Problem:
    return problem.subset(np.setdiff1d(np.arange(len(problem.y)), rows, assume_unique=True))


def _predicted(heads: list[Weights], folds: Folds, rows: NDArray[np.intp]) -> Float64:
    """Return ``(r, b + p, k)`` logits of the samples of a fold and of the probes."""
    asked = np.vstack([folds.problem.x[rows], folds.probes])
    return np.stack([weights.logits(asked) for weights in heads])


def jobs_of(offers: Sequence[tuple[Head, tuple[Setting, ...]]]) -> list[Job]:
    """Sort settings into jobs, the first head's first.

    Args:
        offers: Heads, each with the settings to try.
    """
    jobs: dict[object, list[tuple[Head, tuple[Setting, ...]]]] = {}
    for head, settings in offers:
        if not isinstance(head, ClosedForm):
            if settings:
                jobs[id(head)] = [(head, settings)]
            continue
        for weight in dict.fromkeys(setting.source_weight for setting in settings):
            alike = tuple(setting for setting in settings if setting.source_weight == weight)
            strengths = tuple(head.strength(setting) for setting in alike)
            jobs.setdefault((weight, strengths), []).append((head, alike))
    return [Job(tuple(parts)) for parts in jobs.values()]
