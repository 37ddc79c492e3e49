"""One adaptation: from labelled latents to a candidate head, and what the guard says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..errors import LabelError, NotEnoughSamplesError
from ..latent import LatentCode
from .coordinates import Coordinates, fit_coordinates
from .guard import Judgement, judge
from .head import Ids, LinearHead
from .heads import HEADS, Head, Problem, Setting, Weights
from .heads.problem import ABSENT
from .selection import Selection, cross_validate, eligible, fit
from .statistics import SourceStatistics
from .store import StoredSamples

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Shipped:
    """What the bundle brings along.

    Args:
        classes: Number of shipped classes; their ids are 0, 1, ...
        code: Quantization of the latents.
        head: The shipped head, or None.
        source: Source statistics, or None.
    """

    classes: int
    code: LatentCode
    head: LinearLayer | None
    source: SourceStatistics | None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A fitted head that is not in use yet.

    Args:
        head: The head.
        selection: What it was chosen from.
        judgement: What the guard says.
        before: Balanced accuracy of the current head on the samples compared; NaN where none were.
        after: That of the candidate, on the same samples.
    """

    head: LinearHead
    selection: Selection
    judgement: Judgement
    before: float
    after: float


def adapt(
    samples: StoredSamples,
    shipped: Shipped,
    current: LinearHead | None,
    names: dict[int, str],
    heads: Sequence[Head] = HEADS,
    only: Setting | None = None,
    progress: Progress | None = None,
) -> Candidate:
    """Choose, fit and judge a head.

    Args:
        samples: The labelled samples.
        shipped: What the bundle brings along.
        current: The head in use, or None.
        names: Class names by id, for messages.
        heads: The kinds of head to try.
        only: Try nothing but this setting, unless it forgets a shipped class.
        progress: Called with the number of folds done and of all.

    Returns:
        The candidate. Equal arguments give an equal candidate.

    Raises:
        LabelError: If fewer than two classes are labelled.
        NotEnoughSamplesError: If there are fewer labelled samples than classes.
    """
    ids = _classes(samples, shipped, names)
    y = np.searchsorted(ids, samples.classes)
    coordinates = fit_coordinates(samples.codes, shipped.source, shipped.head, shipped.code)
    problem = _problem(samples, shipped, ids, y, coordinates)
    if only is not None:
        fixed = [_Fixed(head, only) for head in heads if head.name == only.head]
        # Labels may have changed since it was chosen, so that it would forget a class now: then search anew.
        heads = fixed if any(eligible(head, problem) for head in fixed) else heads
    selection = cross_validate(problem, heads, progress)
    layer = coordinates.layer(fit(problem, selection.best, heads), shipped.code)
    predicted = np.where(selection.predicted < 0, -1, ids[selection.predicted])
    head = LinearHead(layer, ids, samples.ids, predicted)
    before, known = None, np.zeros(len(ids), np.bool_)
    if current is not None:
        known = current.knows(ids)
        before = current.held_out(samples.ids, shipped.code.decode(samples.codes))
        # Class ids of the current head in places of this problem; one that it lost since is no class here.
        before = np.where(np.isin(before, ids), np.searchsorted(ids, before), -1)
    judgement = judge(y, selection.predicted, before, known)
    compared = (selection.predicted >= 0) if before is None else (selection.predicted >= 0) & known[y]
    return Candidate(
        head,
        selection,
        judgement,
        before=balanced_accuracy(y[compared], before[compared]) if before is not None else float("nan"),
        after=balanced_accuracy(y[compared], selection.predicted[compared]),
    )


def balanced_accuracy(y: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the mean over classes of the share predicted right; NaN for no sample."""
    present = np.unique(y)
    if not len(present):
        return float("nan")
    return float(np.mean([np.mean(predicted[y == label] == label) for label in present]))


@dataclass(frozen=True, eq=False)
class _Fixed:
    """A head that offers one setting only."""

    head: Head
    setting: Setting

    @property
    def name(self) -> str:
        return self.head.name

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        return (self.setting,)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        return self.head.solve(problem, settings, draft=draft)


def _classes(samples: StoredSamples, shipped: Shipped, names: dict[int, str]) -> Ids:
    labelled = np.unique(samples.classes)
    if len(labelled) < 2:
        found = f"one, {names[int(labelled[0])]!r}" if len(labelled) else "none"
        raise LabelError(
            f"expected labelled samples of at least two classes, found {found}. "
            f"Observe or label samples of another class; it may be one called 'other'."
        )
    carried = np.arange(shipped.classes if shipped.head is not None or shipped.source is not None else 0)
    ids = np.union1d(labelled, carried)
    if len(samples.ids) < len(ids):
        raise NotEnoughSamplesError(
            f"expected at least as many labelled samples as classes ({len(ids)}), found {len(samples.ids)}. "
            f"Observe or label some more; the head in use stays."
        )
    return ids.astype(np.int64)


def _problem(
    samples: StoredSamples, shipped: Shipped, ids: Ids, y: NDArray[np.int64], coordinates: Coordinates
) -> Problem:
    k, places = len(ids), np.arange(shipped.classes)
    source = None if shipped.source is None else coordinates.source(shipped.source, places, k)
    prior = None
    if shipped.head is not None:
        found = coordinates.weights(shipped.head, shipped.code)
        weight, bias = np.zeros((k, coordinates.width)), np.full(k, ABSENT)
        weight[places], bias[places] = found.weight, found.bias
        prior = Weights(weight, bias)
    return Problem(coordinates.of(samples.codes), y.astype(np.int64), k, source, prior)
