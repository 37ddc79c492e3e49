"""One adaptation of a regression head: from latents and targets to a candidate, and what the guard says of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...bundle import LinearLayer
from ...errors import NotEnoughSamplesError
from ...latent import LatentCode
from ...record import record
from ..adaptation.coordinates import Coordinates, fit_coordinates
from ..adaptation.folds import group_units
from ..adaptation.groups import sample_groups
from ..heads.problem import Float64, Weights
from ..store.samples import StoredSamples
from .choice import Choice, choose, fit_all, variance
from .guard import RegressionJudgement, judge
from .head import RegressionHead, half_width
from .ridge import Problem, Ridge
from .source import RegressionSource

Progress = Callable[[int, int], None]
# Fewer samples leave nothing to hold out.
LEAST_SAMPLES = 3
# How much less well the source's targets may follow, beyond what is gained here.
MOST_FORGETTING = 0.1


@record(eq=False)
class ShippedRegression:
    """What the bundle brings along.

    Args:
        code: Quantization of the latents.
        head: The shipped head, or None.
        source: Source statistics, or None.
    """

    code: LatentCode
    head: LinearLayer | None
    source: RegressionSource | None


@record(eq=False)
class Fit:
    """How well a head predicts samples that it was not fitted on.

    Args:
        rmse: ``(t,)`` root mean squared error of each target, in its unit.
        r2: ``(t,)`` share of its variance that is explained; below 0 where the mean would do better.
    """

    rmse: Float64
    r2: Float64

    @classmethod
    def of(cls, y: Float64, predicted: Float64, weight: Float64 | None = None) -> "Fit":
        """Compare ``(n, t)`` predictions with targets."""
        share = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        squared = share @ (predicted - y) ** 2
        return cls(np.sqrt(squared), 1 - squared / variance(y, share))


@record(eq=False)
class RegressionCandidate:
    """A fitted head that is not in use yet.

    Args:
        head: The head.
        choice: What it was chosen from.
        judgement: What the guard says.
        before: How well the current head does on the held-out samples; None without one.
        after: How well the candidate does.
        source: How well the source's targets follow from the shipped head and from the candidate
            (`RegressionSource.kept`); None without both.
    """

    head: RegressionHead
    choice: Choice
    judgement: RegressionJudgement
    before: Fit | None
    after: Fit
    source: tuple[float, float] | None


def adapt(
    samples: StoredSamples,
    y: Float64,
    shipped: ShippedRegression,
    current: RegressionHead | None,
    only: Ridge | None = None,
    progress: Progress | None = None,
    *,
    sample_weight: Mapping[int, float] | None = None,
    max_forgetting: float | None = None,
    deadline: float | None = None,
    names: Sequence[str] = (),
) -> RegressionCandidate:
    """Choose, fit and judge a regression head.

    Args:
        samples: The samples with a label.
        y: ``(n, t)`` their targets.
        shipped: What the bundle brings along.
        current: The head in use, or None.
        only: Try nothing but this setting.
        progress: Called with the number of steps done and of all.
        sample_weight: Weights of samples by id, above 0; 1 for those that are missing.
        max_forgetting: How much less well, of 0 to 1, the source's targets may follow from the candidate than from the
            shipped head, but for an offset and a scale; None for a tenth, and as much more as is gained here.
        deadline: When the search must end, by `time.perf_counter`.
        names: ``(t,)`` names of the targets, for the guard's reason.

    Returns:
        The candidate. Equal arguments give an equal candidate.

    Raises:
        NotEnoughSamplesError: If there are fewer than three samples.
    """
    n = len(samples.ids)
    if n < LEAST_SAMPLES:
        raise NotEnoughSamplesError(
            f"expected at least {LEAST_SAMPLES} samples with a label, found {n}. "
            f"Observe or label some more; the head in use stays."
        )
    one = np.zeros(n, np.int64)
    within = None if shipped.source is None else shipped.source.codes.variance()
    units = group_units(one, sample_groups(samples.codes, one, samples.tags or None, within))
    weight = np.array([(sample_weight or {}).get(number, 1.0) for number in samples.ids.tolist()])
    coordinates = _coordinates(samples, shipped)
    prior = None if shipped.head is None else coordinates.weights(shipped.head, shipped.code)
    source = None if shipped.source is None else shipped.source.moments(coordinates)
    problem = Problem(
        np.asarray(coordinates.of(samples.codes), np.float64),
        y,
        weight,
        units,
        source,
        None if prior is None else prior.weight,
    )
    before = None if current is None else current.held_out(samples.ids, shipped.code.decode(samples.codes))
    scale, old = variance(y, weight), None if before is None else Fit.of(y, before, weight)

    def judged(choice: Choice) -> RegressionCandidate:
        head = RegressionHead(
            _layer(coordinates, choice.weights, shipped.code),
            samples.ids,
            choice.predicted.astype(np.float32),
            half_width(y, choice.predicted, units),
        )
        kept = None
        if shipped.source is not None and source is not None and prior is not None:
            kept = (shipped.source.kept(source, prior), shipped.source.kept(source, choice.weights))
        judgement = judge(y, choice.predicted, before, units, scale, weight, names)
        return RegressionCandidate(head, choice, judgement, old, Fit.of(y, choice.predicted, weight), kept)

    candidate = judged(choose(problem, None if only is None else [only], progress, deadline))
    if candidate.source is None or shipped.source is None or source is None:
        return candidate
    allowed = _allowed(candidate, max_forgetting)
    if candidate.source[0] - candidate.source[1] <= allowed:
        return candidate
    # Held-out samples ask about this place only: let them choose among what keeps the source.
    settings = problem.settings()
    kept = [
        setting
        for setting, weights in zip(settings, fit_all(problem, settings, deadline), strict=False)
        if candidate.source[0] - shipped.source.kept(source, weights) <= allowed
    ]
    if kept and only is None:
        candidate = judged(choose(problem, kept, None, deadline))
    first, last = candidate.source or (0.0, 0.0)
    if first - last <= allowed:
        if candidate.judgement.verdict == "accepted":
            return candidate
        reason = f"What fits better here forgets the source. {candidate.judgement.reason}"
        return replace(candidate, judgement=replace(candidate.judgement, reason=reason))
    reason = (
        f"It forgets the source: of its targets' variance {first:.0%} followed and {last:.0%} do, where a loss of "
        f"{allowed:.0%} is allowed. {candidate.judgement.reason}"
    )
    return replace(candidate, judgement=replace(candidate.judgement, verdict="rejected", reason=reason))


def _allowed(candidate: RegressionCandidate, most: float | None) -> float:
    if most is not None:
        return most
    after = float(np.clip(candidate.after.r2, 0, 1).mean())
    before = 0.0 if candidate.before is None else float(np.clip(candidate.before.r2, 0, 1).mean())
    return MOST_FORGETTING + max(after - before, 0.0)


def _coordinates(samples: StoredSamples, shipped: ShippedRegression) -> Coordinates:
    statistics = None if shipped.source is None else shipped.source.codes
    found = fit_coordinates(samples.codes, statistics, shipped.head, shipped.code)
    if shipped.source is None or found.basis is None or statistics is None or statistics.factor is None:
        return found
    # A basis of what is known must hold what the source says of the targets too.
    more = shipped.source.directions(found, shipped.code)
    layers = [more] if shipped.head is None else [shipped.head, more]
    rows = LinearLayer(np.concatenate([a.weight for a in layers]), np.concatenate([a.bias for a in layers]))
    return fit_coordinates(samples.codes, statistics, rows, shipped.code)


def _layer(coordinates: Coordinates, weights: Weights, code: LatentCode) -> LinearLayer:
    # A bias of a class that is never predicted has a meaning of its own; one of a target is any number.
    layer = coordinates.layer(Weights(weights.weight, np.zeros_like(weights.bias)), code)
    return LinearLayer(layer.weight, (layer.bias + weights.bias).astype(np.float32))
