"""Learning curves of one place on its stored latents: from the bundle, and from scratch on the same labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...edge.adaptation.adapt import adapt
from ...edge.adaptation.blas import threads_for
from ...edge.adaptation.run import Situation, situation
from ...edge.adaptation.shipped import Shipped
from ...edge.head import LinearHead
from ...edge.session import Session
from ...edge.store.samples import StoredSamples
from ...errors import InputError, LabelError, NotEnoughSamplesError
from .efficiency import LearningCurve

Progress = Callable[[int, int], None]
Ids = NDArray[np.int64]
BUDGETS = (2, 5, 10, 20, 50, 100, 200)
DRAWS = 5


@dataclass(frozen=True)
class TransferCurves:
    """Accuracy on held-out samples against labels of one place.

    Args:
        transferred: Of what ``Learner.adapt(on_insufficient="apply")`` has in use, on the bundle's head and source
            statistics.
        guarded: Of what `Learner.adapt` has in use by default: a shipped head stays until there is evidence.
        scratch: Of what it has without head and statistics: a head on the same latents from the labels alone.
        shipped: Accuracy of the shipped head, with no label at all; None where none is shipped.
    """

    transferred: LearningCurve
    guarded: LearningCurve
    scratch: LearningCurve
    shipped: float | None


def transfer_curves(
    session: Session,
    latents: NDArray[np.float32],
    truth: Ids,
    *,
    budgets: Sequence[int] = BUDGETS,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> TransferCurves:
    """Adapt to parts of the stored samples, with what the bundle brings along and without it.

    Of a draw each part holds the smaller ones; both sides get the same samples, the same heads to choose from and the
    same cross-validation. The held-out samples choose nothing.

    Args:
        session: The opened bundle with labelled samples in its store.
        latents: ``(m, d)`` of held-out samples, within the range of the codes.
        truth: ``(m,)`` their class ids; -1 for a class that the store does not have.
        budgets: Samples of each class, ascending; those that no class has are left out, and all that there are come
            last.
        draws: Draws of the samples.
        seed: Fixes them.
        progress: Called with the number of fits done and of all.

    Returns:
        The curves.

    Raises:
        InputError: If budgets or draws are none.
        LabelError: If fewer than two classes are labelled.
        NotEnoughSamplesError: If no part is large enough to be fitted.
    """
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1 or draws < 1:
        raise InputError(f"expected ascending budgets of 1 or more and 1 draw or more, found {budgets} and {draws}.")
    now = situation(session, 0)
    samples, reference = now.samples, now.shipped.predictor()
    sizes = np.unique(samples.classes, return_counts=True)[1]
    if len(sizes) < 2:
        raise LabelError(f"expected labelled samples of two classes or more in the store, found {len(sizes)}.")
    most = int(sizes.max())
    parts = [*(b for b in budgets if b < most), most]
    nothing = Shipped(np.full(len(now.shipped.classes), -1), now.shipped.code, None, None)
    labels: list[int] = []
    accuracy: dict[str, list[tuple[float, ...]]] = {"transferred": [], "guarded": [], "scratch": []}
    seconds: dict[str, list[float]] = {"transferred": [], "guarded": [], "scratch": []}
    every = [_order(samples.classes, np.random.default_rng([seed, draw])) for draw in range(draws)]
    for number, budget in enumerate(parts):
        rows = [np.flatnonzero(order < budget) for order in every]
        if len(rows[0]) < max(2 * len(sizes), len(now.shipped.ids)):
            continue
        labels.append(len(rows[0]))
        found: dict[str, list[float]] = {"transferred": [], "guarded": [], "scratch": []}
        spent = dict.fromkeys(found, 0.0)
        for draw, chosen in enumerate(rows):
            if draw and np.array_equal(chosen, rows[0]):
                # All that there are: no other draw is possible.
                for values in found.values():
                    values.append(values[0])
                continue
            part, begun = _subset(samples, chosen), time.process_time()
            applied, guarded = _adapted(part, now.shipped, reference, now)
            middle = time.process_time()
            alone, _ = _adapted(part, nothing, None, now)
            spent["transferred"] += middle - begun
            spent["scratch"] += time.process_time() - middle
            for name, head in (("transferred", applied), ("guarded", guarded), ("scratch", alone)):
                found[name].append(_accuracy(head, latents, truth))
            if progress is not None:
                progress(number * draws + draw + 1, len(parts) * draws)
        if progress is not None:
            progress((number + 1) * draws, len(parts) * draws)
        spent["guarded"] = spent["transferred"]
        fits = 1 if all(np.array_equal(chosen, rows[0]) for chosen in rows) else draws
        for name, values in found.items():
            accuracy[name].append(tuple(values))
            seconds[name].append(spent[name] / fits)
    if not labels:
        raise NotEnoughSamplesError(
            f"expected labelled samples for a learning curve, at least two of each class and as many as classes, found "
            f"{len(samples.ids)}. Observe some more."
        )
    curves = {
        name: LearningCurve(tuple(labels), tuple(values), tuple(seconds[name])) for name, values in accuracy.items()
    }
    return TransferCurves(**curves, shipped=None if reference is None else _accuracy(reference, latents, truth))


def _adapted(
    samples: StoredSamples, shipped: Shipped, current: LinearHead | None, now: Situation
) -> tuple[LinearHead, LinearHead]:
    """Return what is in use after adapting without enough evidence either: the candidate, and the head that stays."""
    with threads_for(*samples.codes.shape):
        candidate = adapt(samples, shipped, current, now.names, frozen=now.frozen)
    verdict = candidate.judgement.verdict
    if current is None or verdict == "accepted":
        return candidate.head, candidate.head
    return (current if verdict == "rejected" else candidate.head), current


def _accuracy(head: LinearHead, latents: NDArray[np.float32], truth: Ids) -> float:
    return float((head.ids[head.probabilities(latents).argmax(axis=1)] == truth).mean())


def _order(classes: Ids, lot: np.random.Generator) -> Ids:
    """Return of each sample its place among those of its class, by lot."""
    order = np.empty(len(classes), np.int64)
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        order[lot.permutation(rows)] = np.arange(len(rows))
    return order


def _subset(samples: StoredSamples, rows: NDArray[np.intp]) -> StoredSamples:
    tags = tuple(samples.tags[i] for i in rows) if samples.tags else ()
    times = samples.times[rows] if len(samples.times) else samples.times
    return replace(
        samples, ids=samples.ids[rows], classes=samples.classes[rows], codes=samples.codes[rows], tags=tags, times=times
    )
