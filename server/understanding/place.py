"""Measures what adapting gained at one place: an opened bundle with its store, and held-out frames of the place."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...edge.checks import check_frames, check_labels
from ...edge.learner import Learner
from ...edge.session import InUse, Session
from ...edge.task_session import TaskSession
from ...edge.understanding.fairness import group_fairness
from ...errors import InputError, LabelError, NotEnoughSamplesError
from .efficiency import savings
from .gains import compare_models
from .place_figures import PlaceGains
from .transfer_curves import BUDGETS, DRAWS, TransferCurves, transfer_curves

Progress = Callable[[int, int], None]
H = TypeVar("H")
# Frames that are timed.
_TIMED = 16


def place_gains(
    learner: Learner,
    frames: NDArray[Any],
    labels: Sequence[str] | NDArray[Any],
    *,
    groups: Sequence[str] | None = None,
    budgets: Sequence[int] = BUDGETS,
    draws: int = DRAWS,
    seconds_per_label: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> PlaceGains:
    """Compare the version in use with the shipped head on held-out frames, and see what transfer saves.

    Frames that the store holds, byte for byte, are left out: a version was trained on them, or may be. Other frames of
    the same burst cannot be told; hold out whole recordings.

    Args:
        learner: The opened bundle on its store.
        frames: ``(n, *shape)`` held-out raw samples.
        labels: ``n`` class names.
        groups: ``n`` groups for fairness; None without.
        budgets: Samples of each class of the learning curves; none to leave these out.
        draws: Draws of the samples of each.
        seconds_per_label: What it takes to label a sample, for the time that is saved.
        seed: Fixes every draw.
        progress: Called with the number of fits done and of all.

    Returns:
        What was found.

    Raises:
        InputError: If frames, labels or groups do not fit, none is held out, or the bundle ships no head.
    """
    session = learner._session
    checked = check_frames(frames, session.bundle.manifest.input)
    truth = np.array([str(name) for name in check_labels(labels, len(checked))])
    shipped, now = heads_to_compare(session, len(checked), groups, seconds_per_label)
    held = ~are_stored(session, checked)
    if not held.any():
        raise InputError("expected held-out frames, found that the store holds all of them. Keep some aside.")
    checked, truth = checked[held], truth[held]
    latents, per_look = looked_at(session, checked)
    before = shipped.predict(latents).labels
    after = (now.predict(latents) if now.tail is None else now.predict_frames(session, checked)).labels
    remarks = _remarks(now, int((~held).sum()), truth, session)
    curves: TransferCurves | None = None
    if budgets:
        ids = {name: number for number, name in session.store.classes().items()}
        wanted = np.array([ids.get(name, -1) for name in truth.tolist()], np.int64)
        options = {"budgets": budgets, "draws": draws, "seed": seed, "progress": progress}
        try:
            curves = transfer_curves(session, latents, wanted, **options)  # type: ignore[arg-type]  # as they were given
        except (LabelError, NotEnoughSamplesError) as error:
            remarks.append(f"There are no learning curves: {error}")
    fairness = None
    if groups is not None:
        of = np.array([str(group) for group in groups])[held]
        classes = sorted(set(truth.tolist()))
        fairness = (
            group_fairness(truth, before, of, classes=classes, seed=seed),
            group_fairness(truth, after, of, classes=classes, seed=seed),
        )
    return PlaceGains(
        compare_models(truth, before, after, seed=seed),
        now.version,
        int((~held).sum()),
        curves,
        () if curves is None else savings(curves.transferred, curves.scratch),
        fairness,
        seconds_per_label,
        per_look,
        tuple(remarks),
    )


def heads_to_compare(
    session: TaskSession[H], n: int, groups: Sequence[str] | None, seconds_per_label: float
) -> tuple[H, H]:
    """Return the shipped head and the one in use.

    Args:
        session: The opened bundle on its store.
        n: Number of held-out frames.
        groups: ``n`` groups, or None.
        seconds_per_label: What it takes to label a sample.

    Raises:
        InputError: If groups or seconds do not fit, or the bundle ships no head.
    """
    if groups is not None and len(groups) != n:
        raise InputError(f"expected a group for each of {n} frames, found {len(groups)}.")
    if not math.isfinite(seconds_per_label) or seconds_per_label < 0:
        raise InputError(f"expected 0 seconds a label or more, found {seconds_per_label}.")
    shipped, now = session.load(0), session.in_use()
    if shipped is None or now is None:
        raise InputError(
            "expected a bundle that ships a head to compare with, found none. There is no gain to measure."
        )
    return shipped, now


def are_stored(session: TaskSession[Any], frames: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which frames the store holds, byte for byte."""
    digests = [session.store.digest(frame) for frame in frames]
    stored = session.store.unstored(digests, refuse=False)[1]
    return np.array([digest in stored for digest in digests], np.bool_)


def looked_at(session: TaskSession[Any], frames: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return latents, and the wall time that one look takes."""
    first = frames[:_TIMED]
    session.latents(first)
    begun = time.perf_counter()
    session.latents(first)
    return session.latents(frames), (time.perf_counter() - begun) / len(first)


def _remarks(now: InUse, left_out: int, truth: NDArray[np.str_], session: Session) -> list[str]:
    told = []
    if now.version == 0:
        told.append("The shipped head is in use: nothing was adapted yet.")
    if left_out:
        told.append(f"{left_out:,} frames are left out, since the store holds them.")
    strange = sorted(set(truth.tolist()) - set(session.store.classes().values()))
    if strange:
        told.append(
            f"No head knows {', '.join(strange[:5])}{', ...' * (len(strange) > 5)}: such frames count as wrong."
        )
    if now.tail is not None:
        told.append("A trained tail is in use; the learning curves are those of heads.")
    return told
