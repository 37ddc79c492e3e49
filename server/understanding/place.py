"""What adapting gained at one place: an opened bundle with its store, and held-out frames of the same place."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge.checks import check_frames, check_labels
from ...edge.learner import Learner
from ...edge.session import InUse, Session
from ...edge.understanding.fairness import Fairness, group_fairness
from ...errors import InputError, LabelError, NotEnoughSamplesError
from .efficiency import Saving, savings
from .gains import Gains, compare_models, known
from .transfer_curves import BUDGETS, DRAWS, TransferCurves, transfer_curves

Progress = Callable[[int, int], None]
# Frames that are timed.
_TIMED = 16


@dataclass(frozen=True, eq=False)
class PlaceGains:
    """What adapting gained at one place.

    Args:
        gains: The head in use against the shipped one, on held-out samples.
        version: Number of the version in use.
        left_out: Held-out frames that the store holds, and so are none.
        curves: Accuracy against labels, with transfer and without; None where there were too few to tell.
        savings: What transfer saves at each number of labels.
        fairness: Before and after, where groups are known.
        seconds_per_label: What labelling a sample takes, as it was given; 0 where it was not.
        seconds_per_look: Measured wall time of one frame through the backbone.
        remarks: What a reader should know.
    """

    gains: Gains
    version: int
    left_out: int
    curves: TransferCurves | None
    savings: tuple[Saving, ...]
    fairness: tuple[Fairness, Fairness] | None
    seconds_per_label: float
    seconds_per_look: float
    remarks: tuple[str, ...]

    @property
    def headline(self) -> Saving:
        """What is saved with the fewest labels: what transfer is for. Where it ends, `in_vain` says."""
        return self.savings[0]

    @property
    def in_vain(self) -> int | None:
        """The labels from which on transfer saves none, by the medians; None where it does to the end."""
        found = None
        for one in reversed(self.savings):
            if one.typical > one.labels:
                break
            found = one.labels
        return found

    def seconds(self, saving: Saving) -> tuple[float, float]:
        """Return what labelling, looking and fitting take with transfer, and without for the same accuracy."""
        if self.curves is None:
            return math.nan, math.nan
        each = self.seconds_per_label + self.seconds_per_look
        with_it, scratch = self.curves.transferred, self.curves.scratch
        own = with_it.seconds[with_it.labels.index(saving.labels)]
        needed = saving.typical
        if math.isinf(needed):
            return saving.labels * each + own, math.inf
        other = float(np.interp(needed, scratch.labels, scratch.seconds))
        return saving.labels * each + own, needed * each + other

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not known, or not reached, is None."""
        curves = None
        if self.curves is not None:
            named = {"with": self.curves.transferred, "guarded": self.curves.guarded, "without": self.curves.scratch}
            curves = {
                "shipped": self.curves.shipped,
                **{
                    name: {"labels": c.labels, "accuracy": c.accuracy, "seconds": c.seconds}
                    for name, c in named.items()
                },
            }
        saved = [
            {
                "labels": one.labels,
                "accuracy": one.accuracy,
                "needed": one.typical,
                "factor": one.factor,
                "factors": [needed / one.labels for needed in one.needed],
                "seconds": self.seconds(one)[0],
                "seconds_without": self.seconds(one)[1],
            }
            for one in self.savings
        ]
        fairness = None
        if self.fairness is not None:
            fairness = dict(zip(("before", "after"), map(_plain, self.fairness), strict=True))
        plain: dict[str, Any] = known(
            {
                "version": self.version,
                "left_out": self.left_out,
                **self.gains.to_dict(),
                "curves": curves,
                "savings": saved,
                "fairness": fairness,
                "remarks": list(self.remarks),
            }
        )
        return plain


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
    if groups is not None and len(groups) != len(checked):
        raise InputError(f"expected a group for each of {len(checked)} frames, found {len(groups)}.")
    if not math.isfinite(seconds_per_label) or seconds_per_label < 0:
        raise InputError(f"expected 0 seconds a label or more, found {seconds_per_label}.")
    shipped, now = session.load(0), session.in_use()
    if shipped is None or now is None:
        raise InputError(
            "expected a bundle that ships a head to compare with, found none. There is no gain to measure."
        )
    digests = [session.store.digest(frame) for frame in checked]
    stored = session.store.unstored(digests, refuse=False)[1]
    held = np.array([digest not in stored for digest in digests])
    if not held.any():
        raise InputError("expected held-out frames, found that the store holds all of them. Keep some aside.")
    checked, truth = checked[held], truth[held]
    latents, per_look = _looked_at(session, checked)
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


def _looked_at(session: Session, frames: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
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


def _plain(found: Fairness) -> dict[str, Any]:
    def gap(one: Any) -> dict[str, Any]:
        names = ("difference", "ratio", "chance", "unknown")
        return {name: getattr(one, name) for name in names}

    def rates(shares: Any) -> list[dict[str, Any]]:
        return [{"value": one.value, "interval": one.interval, "samples": one.samples} for one in shares]

    return {
        "groups": found.groups,
        "accuracy": rates(found.accuracy),
        "accuracy_gap": gap(found.accuracy_gap),
        "classes": [
            {
                "class": part.label,
                "selection": rates(part.selection),
                "recall": rates(part.recall),
                "false_positive": rates(part.false_positive),
                **{
                    name: gap(getattr(part, name))
                    for name in ("demographic_parity", "equal_opportunity", "equalized_odds")
                },
            }
            for part in found.classes
        ],
    }
