"""Learning curves of a regressor at one place: from the bundle, and from scratch on the same labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...edge.adaptation.blas import threads_for
from ...edge.regression.adaptation import LEAST_SAMPLES, ShippedRegression, adapt
from ...edge.regression.head import RegressionHead
from ...edge.regression.run import Situation, situation
from ...edge.regression.task import RegressionSession
from ...errors import InputError, NotEnoughSamplesError
from .efficiency import LearningCurve
from .transfer_curves import DRAWS

Progress = Callable[[int, int], None]
Float64 = NDArray[np.float64]
# Samples in all: a regressor has no classes to count by.
ERROR_BUDGETS = (5, 10, 20, 50, 100, 200, 500)
_SIDES = ("transferred", "guarded", "scratch")


@dataclass(frozen=True)
class ErrorCurves:
    """Mean absolute error of one target on held-out samples, against labels of one place.

    A curve's scores are these errors with a minus, so that more is better.

    Args:
        target: The target.
        transferred: As for `acclimate.server.understanding.transfer_curves.TransferCurves`.
        guarded: Likewise.
        scratch: Likewise.
        shipped: Error of the shipped head, with no label at all.
    """

    target: str
    transferred: LearningCurve
    guarded: LearningCurve
    scratch: LearningCurve
    shipped: float


def error_curves(
    session: RegressionSession,
    latents: NDArray[np.float32],
    truth: Float64,
    *,
    budgets: Sequence[int] = ERROR_BUDGETS,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ErrorCurves, ...]:
    """Adapt to parts of the stored samples, with what the bundle brings along and without it.

    Of a draw each part holds the smaller ones; both sides get the same samples, and choose among the same strengths by
    the same cross-validation. The held-out samples choose nothing.

    Args:
        session: The opened bundle, which ships a head, with labelled samples in its store.
        latents: ``(m, d)`` of held-out samples.
        truth: ``(m, t)`` their values.
        budgets: Samples in all, ascending; those that are not at hand are left out, and all that there are come last.
        draws: Draws of the samples.
        seed: Fixes them.
        progress: Called with the number of fits done and of all.

    Returns:
        The curves of each target.

    Raises:
        InputError: If budgets or draws are none, or no head is shipped.
        NotEnoughSamplesError: If fewer than three samples are labelled.
    """
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1 or draws < 1:
        raise InputError(f"expected ascending budgets of 1 or more and 1 draw or more, found {budgets} and {draws}.")
    now = situation(session, 0)
    if now.current is None:
        raise InputError("expected a bundle that ships a head to start from, found none.")
    n = len(now.samples.ids)
    if n < LEAST_SAMPLES:
        raise NotEnoughSamplesError(
            f"expected {LEAST_SAMPLES} samples with a label or more for a learning curve, found {n}. Observe some more."
        )
    parts = [*(b for b in budgets if LEAST_SAMPLES <= b < n), n]
    orders = [np.random.default_rng([seed, draw]).permutation(n) for draw in range(draws)]
    # Of each side: part by part, draw by draw, the error of each target.
    found = {side: np.empty((len(parts), draws, truth.shape[1])) for side in _SIDES}
    spent = {side: np.zeros((len(parts), draws)) for side in _SIDES}
    for number, budget in enumerate(parts):
        for draw, order in enumerate(orders):
            if budget == n and draw:
                # All that there are: no other draw is possible.
                for side in _SIDES:
                    found[side][number, draw], spent[side][number, draw] = (
                        found[side][number, 0],
                        spent[side][number, 0],
                    )
            else:
                for side, (head, seconds) in _fitted(now, np.sort(order[:budget])).items():
                    found[side][number, draw] = _errors(head, latents, truth)
                    spent[side][number, draw] = seconds
            if progress is not None:
                progress(number * draws + draw + 1, len(parts) * draws)
    start = _errors(now.current, latents, truth)
    return tuple(
        ErrorCurves(
            name,
            transferred=_curve(parts, found["transferred"][:, :, i], spent["transferred"]),
            guarded=_curve(parts, found["guarded"][:, :, i], spent["guarded"]),
            scratch=_curve(parts, found["scratch"][:, :, i], spent["scratch"]),
            shipped=float(start[i]),
        )
        for i, name in enumerate(session.bundle.manifest.classes)
    )


def _fitted(now: Situation, rows: NDArray[np.intp]) -> dict[str, tuple[RegressionHead, float]]:
    """Return of each side the head that is in use after adapting to some samples, and its processor time."""
    samples = replace(
        now.samples,
        ids=now.samples.ids[rows],
        classes=now.samples.classes[rows],
        codes=now.samples.codes[rows],
        tags=tuple(now.samples.tags[i] for i in rows) if now.samples.tags else (),
        times=now.samples.times[rows] if len(now.samples.times) else now.samples.times,
    )
    y, current = now.y[rows], now.current
    with threads_for(*samples.codes.shape):
        begun = time.process_time()
        candidate = adapt(samples, y, now.shipped, current)
        middle = time.process_time()
        alone = adapt(samples, y, ShippedRegression(now.shipped.code, None, None), None).head
        end = time.process_time()
    verdict, with_it = candidate.judgement.verdict, middle - begun
    applied = current if verdict == "rejected" and current is not None else candidate.head
    guarded = candidate.head if verdict == "accepted" or current is None else current
    return {"transferred": (applied, with_it), "guarded": (guarded, with_it), "scratch": (alone, end - middle)}


def _errors(head: RegressionHead, latents: NDArray[np.float32], truth: Float64) -> Float64:
    found: Float64 = np.abs(head.values(latents).astype(np.float64) - truth).mean(axis=0)
    return found


def _curve(parts: Sequence[int], errors: Float64, seconds: Float64) -> LearningCurve:
    scores = tuple(tuple((-row).tolist()) for row in errors)
    return LearningCurve(tuple(parts), scores, tuple(seconds.mean(axis=1).tolist()))
