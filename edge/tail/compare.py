"""Whether a tail does better than the best head, what it would lose, and what the guard says of it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..adaptation.guard import judge
from ..adaptation.temperature import probabilities
from ..adaptation.trial import Candidate, balanced_accuracy, places_among
from .fit import Parameters
from .ground import ROWS
from .held_out import HeldOut, run_rows
from .rows import rows_of
from .task import Task

# Samples that are looked at to see whether rounding matters, and by how much probabilities may differ then.
_LOOKED_AT, _ROUNDING = 500, 1e-3


def against_head(task: Task, found: HeldOut) -> str | None:
    """Say why the head is kept, or None where the tail is better by more than noise."""
    both = (found.predicted >= 0) & (task.head >= 0)
    names = [task.ground.names[int(i)] for i in task.ids]
    weight = task.ground.weights(task.rows[both])
    groups, known = task.candidate.groups[task.rows][both], np.ones(len(task.ids), np.bool_)
    verdict = judge(task.y[both], found.predicted[both], task.head[both], known, groups, names, weight)
    if verdict.verdict == "accepted":
        return None
    return f"The tail is not better than the best head by more than chance explains: {verdict.gain:+.1f} points."


def accuracy(task: Task, found: HeldOut, predicted: NDArray[np.int64]) -> float:
    """Return the balanced accuracy of held-out predictions, of samples that head and tail were both asked about."""
    rows = (found.predicted >= 0) & (task.head >= 0)
    weight = task.ground.weights(task.rows[rows])
    return balanced_accuracy(task.y[rows], predicted[rows], weight)


def lost(task: Task, parameters: Parameters) -> str | None:
    """Say which shipped classes without samples here would be lost, as far as their draws tell, or None."""
    if not task.warm or task.ground.replay is None:
        return None
    gone = task.ground.replay.lost(task.ids, task.shipped, rows_of(task.ground.content, parameters))
    names = ", ".join(task.ground.names[int(i)] for i in gone[:5])
    return f"The tail would no longer know {names}." if len(gone) else None


def judge_tail(task: Task, found: HeldOut, parameters: Parameters) -> Candidate:
    """Compare the tail with what is in use, as every head is."""
    ground, candidate, ids = task.ground, task.candidate, task.ids
    names, weight = [ground.names[int(i)] for i in ids], ground.weight
    after = np.full(len(ground.samples.ids), -1)
    after[task.rows] = found.predicted
    if len(task.frozen):
        after[task.frozen] = run_rows(task.forward, ground.maps, parameters, task.frozen).argmax(axis=1)
    before, known = None, np.zeros(len(ids), np.bool_)
    if ground.current is not None:
        known, before = ground.current.knows(ids), places_among(_now(task), ids)
    judgement = judge(task.places, after, before, known, candidate.groups, names, weight)
    compared = (after >= 0) if before is None else (after >= 0) & known[task.places]
    own = None if weight is None else weight[compared]
    accuracy = [
        float("nan") if p is None else balanced_accuracy(task.places[compared], p[compared], own)
        for p in (before, after)
    ]
    predicted = np.where(found.predicted < 0, -1, ids[found.predicted])
    return replace(
        candidate,
        head=replace(candidate.head, predicted=predicted),
        judgement=judgement,
        before=accuracy[0],
        after=accuracy[1],
        probe=None,
    )


def _now(task: Task) -> NDArray[np.int64]:
    """Return what is in use predicts for each sample without it, some at a time."""
    ground, samples = task.ground, task.ground.samples
    if ground.current is None:
        raise AssertionError("only what is in use is asked")
    parts = [slice(i, i + ROWS) for i in range(0, len(samples.ids), ROWS)]
    return np.concatenate([ground.current.held_out(samples.ids[p], ground.latents(samples.codes[p])) for p in parts])


def is_alike(task: Task, parameters: Parameters) -> bool:
    """Return whether parameters rounded to float16 predict the same, and hardly less surely."""
    with np.errstate(over="ignore"):
        rounded = {name: values.astype(np.float16).astype(np.float32) for name, values in parameters.items()}
    if not all(np.isfinite(values).all() for values in rounded.values()):
        return False
    rows = task.rows[:: max(len(task.rows) // _LOOKED_AT, 1)]
    found = [run_rows(task.forward, task.ground.maps, p, rows) for p in (parameters, rounded)]
    whole, half = (probabilities(logits.astype(np.float64), np.ones((1, 1))) for logits in found)
    same = np.array_equal(whole.argmax(axis=1), half.argmax(axis=1))
    return same and float(np.abs(whole - half).max()) < _ROUNDING
