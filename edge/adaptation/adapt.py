"""One adaptation: from labelled latents to a candidate head, and what the guard says of it."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ...errors import LabelError, NotEnoughSamplesError
from ...record import record
from ..distinct import distinct
from ..head import Ids, LinearHead
from ..heads import AUTO, Head, Problem, Setting, Weights
from ..heads.problem import ABSENT, Float64
from ..store.samples import StoredSamples
from .coordinates import Coordinates, embed
from .current import Current
from .curve import learning_curve
from .displacement import carry_along, within_variance
from .groups import indistinct, sample_groups
from .outlook import is_enough
from .probe import forgets
from .selection import eligible, fit, search
from .shipped import Shipped as Shipped
from .trial import Candidate as Candidate
from .trial import Trial

Progress = Callable[[int, int], None]
# Share of changes of the label at which the sensor did not change: more is no accident.
STUCK = 0.5
# How often another choice is made that forgets less.
RETRIES = 4


def adapt(
    samples: StoredSamples,
    shipped: Shipped,
    current: Current | None,
    names: Mapping[int, str],
    heads: Sequence[Head] = AUTO,
    only: Setting | None = None,
    progress: Progress | None = None,
    *,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Mapping[int, float] | None = None,
    frozen: Set[int] = frozenset(),
    max_forgetting: float | None = None,
    deadline: float | None = None,
) -> Candidate:
    """Choose, fit and judge a head.

    Args:
        samples: The labelled samples.
        shipped: What the bundle brings along.
        current: What is in use, or None.
        names: Class names by id, for messages.
        heads: The kinds of head to try.
        only: Try nothing but this setting, unless it forgets a shipped class.
        progress: Called with the number of folds done and of all.
        class_weight: Weights of classes by id, above 0; 1 for those that are missing.
        sample_weight: Weights of samples by id, above 0; 1 for those that are missing.
        frozen: Ids of shipped classes that stay what they were shipped as: their samples are judged on, not trained on.
        max_forgetting: Points of accuracy that may be lost on the source probe; None for 10, and as many more as are
            gained here.
        deadline: When the search must end, by `time.perf_counter`.

    Returns:
        The candidate. Equal arguments give an equal candidate.

    Raises:
        LabelError: If fewer than two classes are labelled.
        NotEnoughSamplesError: If there are fewer labelled samples than classes.
    """
    found, given = shipped.present(), samples
    trained = ~np.isin(samples.classes, np.intersect1d(sorted(frozen), found.ids, assume_unique=True))
    samples = _subset(given, trained)
    if len(given.ids) and not len(samples.ids):
        raise LabelError(
            "expected labelled samples of a class that is not frozen, found none. Thaw one, or add samples."
        )
    ids = _classes(given, found, names)
    within = None if found.source is None else within_variance(found.source)
    groups = sample_groups(given.codes, given.classes, given.tags or None, within)
    # A class without samples here is taken to have moved as the others did.
    carried = None if found.source is None else carry_along(found.source, found.ids, given.codes, given.classes)
    coordinates, x = embed(samples.codes, carried, found.head, found.code)
    weight = weights_of(given, class_weight, sample_weight)
    local = weight if weight is None else weight[trained]
    problem = _problem(x, samples.classes, replace(found, source=carried), ids, coordinates, local)
    if only is not None:
        fixed: list[Head] = [Restricted(head, (only,)) for head in heads if head.name == only.head]
        # Labels may have changed since it was chosen, so that it would forget a class now: then search anew.
        heads = fixed if any(eligible(head, problem) for head in fixed) else heads
    reference = shipped.predictor() or (current if isinstance(current, LinearHead) else None)
    trial = Trial(given, trained, found, reference, current, ids, names, coordinates, carried, weight)
    found_here = search(problem, heads, progress, groups=groups[trained], deadline=deadline)
    selection = found_here.choose()
    candidate = trial.judge(selection, fit(problem, selection.best, heads), groups)
    reason = trial.forgets(candidate, max_forgetting)
    if reason is not None and _before(deadline):
        # Cross-validation asks about local samples only: let it choose among what keeps the source.
        kept, probes, least = candidate, trial.keepers(heads, problem), candidate.gain
        for _ in range(RETRIES):
            # What is chosen instead gains less, and so may lose less: each round asks for more.
            least = min(least, kept.gain)
            probes.pop(kept.selection.best.setting, None)
            settings = {
                s for s in found_here.settings & probes.keys() if forgets(probes[s], least, max_forgetting) is None
            }
            if not settings:
                break
            selection = found_here.choose(settings)
            kept = trial.judge(selection, fit(problem, selection.best, heads), groups)
            if trial.forgets(kept, max_forgetting) is None:
                candidate, reason = kept, None
                break
    if indistinct(given.codes, given.classes, within) >= STUCK:
        reason = (
            "Samples of different classes hardly differ, one after the other: look whether the sensor stands still."
        )
    if reason is not None:
        judgement = replace(candidate.judgement, verdict="rejected", reason=f"{reason} {candidate.judgement.reason}")
        candidate = replace(candidate, judgement=judgement)
    nothing = float("nan")
    home, least = (nothing, nothing) if candidate.probe is None else (candidate.probe.before, candidate.probe.least)
    curve: tuple[tuple[int, float], ...] = ()
    enough = is_enough(candidate.after, len(given.ids), home, curve, least)
    if enough is None and candidate.probe is not None and only is None and _before(deadline):
        curve = learning_curve(problem, candidate.selection.best.setting, heads, groups[trained])
        enough = is_enough(candidate.after, len(given.ids), home, curve, least)
    return replace(candidate, curve=curve, enough=enough)


def _before(deadline: float | None) -> bool:
    return deadline is None or perf_counter() < deadline


@record(eq=False)
class Restricted:
    """A head that offers some of its settings only. See `Head`."""

    head: Head
    kept: tuple[Setting, ...]

    @property
    def name(self) -> str:
        """Name of the head."""
        return self.head.name

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return those settings."""
        return self.kept

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Fit as the head does."""
        return self.head.solve(problem, settings, draft=draft)


def _subset(samples: StoredSamples, rows: NDArray[np.bool_]) -> StoredSamples:
    if rows.all():
        return samples
    return StoredSamples(samples.ids[rows], samples.classes[rows], samples.codes[rows])


def _classes(samples: StoredSamples, shipped: Shipped, names: Mapping[int, str]) -> Ids:
    labelled = distinct(samples.classes)
    if len(labelled) < 2:
        found = f"one, {names[int(labelled[0])]!r}" if len(labelled) else "none"
        raise LabelError(
            f"expected labelled samples of at least two classes, found {found}. "
            f"Observe or label samples of another class; it may be one called 'other'."
        )
    ids = distinct(np.concatenate([labelled, shipped.ids]))
    if len(samples.ids) < len(ids):
        raise NotEnoughSamplesError(
            f"expected at least as many labelled samples as classes ({len(ids)}), found {len(samples.ids)}. "
            f"Observe or label some more; the head in use stays."
        )
    return ids.astype(np.int64)


def weights_of(
    samples: StoredSamples, class_weight: Mapping[int, float] | None, sample_weight: Mapping[int, float] | None
) -> Float64 | None:
    """Return the ``(n,)`` weights of samples by those of classes and samples; None where there are none."""
    if not class_weight and not sample_weight:
        return None
    of_class, of_sample = class_weight or {}, sample_weight or {}
    pairs = zip(samples.classes.tolist(), samples.ids.tolist(), strict=True)
    return np.array([of_class.get(label, 1.0) * of_sample.get(number, 1.0) for label, number in pairs])


def _problem(
    x: Float64, classes: Ids, shipped: Shipped, ids: Ids, coordinates: Coordinates, weight: Float64 | None
) -> Problem:
    k, places = len(ids), np.searchsorted(ids, shipped.ids)
    y = np.searchsorted(ids, classes)
    source = None if shipped.source is None else coordinates.source(shipped.source, places, k)
    prior = None
    if shipped.head is not None:
        found = coordinates.weights(shipped.head, shipped.code)
        weights, bias = np.zeros((k, coordinates.width)), np.full(k, ABSENT)
        weights[places], bias[places] = found.weight, found.bias
        prior = Weights(weights, bias)
    fisher = None
    if shipped.fisher is not None and shipped.source is not None and source is not None:
        fisher = shipped.fisher.into(coordinates, shipped.source, source, places, k)
    return Problem(x, y, k, source, prior, weight, fisher)
