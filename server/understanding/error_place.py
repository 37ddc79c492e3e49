"""What adapting a regressor gained at one place: an opened bundle with its store, and held-out frames of that place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge.checks import check_frames
from ...edge.regression.regressor import Regressor
from ...edge.regression.targets import Values, check_values
from ...errors import InputError, NotEnoughSamplesError
from .efficiency import LearningCurve, Saving, plain_saving, savings, seconds_of
from .error_curves import ERROR_BUDGETS, ErrorCurves, error_curves
from .error_gains import ErrorGains, compare_values
from .gains import known
from .place import are_stored, heads_to_compare, looked_at
from .transfer_curves import DRAWS

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ErrorPlaceGains:
    """What adapting gained at one place.

    Args:
        gains: The head in use against the shipped one, on held-out samples.
        version: Number of the version in use.
        left_out: Held-out frames that the store holds, and so are none.
        curves: Of each target, its error against labels, with transfer and without; empty where there were too few.
        savings: Of each target, what transfer saves at each number of labels.
        seconds_per_label: What labelling a sample takes, as it was given; 0 where it was not.
        seconds_per_look: Measured wall time of one frame through the backbone.
        remarks: What a reader should know.
    """

    gains: ErrorGains
    version: int
    left_out: int
    curves: tuple[ErrorCurves, ...]
    savings: tuple[tuple[Saving, ...], ...]
    seconds_per_label: float
    seconds_per_look: float
    remarks: tuple[str, ...]

    def seconds(self, curves: ErrorCurves, saving: Saving) -> tuple[float, float]:
        """Return what labelling, looking and fitting take with transfer, and without for the same error."""
        each = self.seconds_per_label + self.seconds_per_look
        return seconds_of(saving, curves.transferred, curves.scratch, each)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; what is not known, or not reached, is None."""

        def plain_curve(curve: LearningCurve) -> dict[str, Any]:
            errors = [[-score for score in scores] for scores in curve.accuracy]
            return {"labels": curve.labels, "mae": errors, "seconds": curve.seconds}

        told = []
        for curves, saved in zip(self.curves, self.savings, strict=True):
            sides = (("with", curves.transferred), ("guarded", curves.guarded), ("without", curves.scratch))
            rows = [plain_saving(one, ("mae", -one.accuracy), self.seconds(curves, one)) for one in saved]
            told.append(
                {
                    "target": curves.target,
                    "shipped": curves.shipped,
                    **{name: plain_curve(curve) for name, curve in sides},
                    "savings": rows,
                }
            )
        plain: dict[str, Any] = known(
            {
                "version": self.version,
                "left_out": self.left_out,
                **self.gains.to_dict(),
                "curves": told,
                "remarks": list(self.remarks),
            }
        )
        return plain


def place_errors(
    regressor: Regressor,
    frames: NDArray[Any],
    values: Values,
    *,
    groups: Sequence[str] | None = None,
    budgets: Sequence[int] = ERROR_BUDGETS,
    draws: int = DRAWS,
    seconds_per_label: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ErrorPlaceGains:
    """Compare the version in use with the shipped head on held-out frames, and see what transfer saves.

    Frames that the store holds, byte for byte, and those without a value are left out. See
    `acclimate.server.understanding.place.place_gains`.

    Args:
        regressor: The opened bundle on its store.
        frames: ``(n, *shape)`` held-out raw samples.
        values: ``(n,)`` or ``(n, t)`` their values; NaN for a frame without.
        groups: ``n`` groups, whose errors are told apart; None without.
        budgets: Samples in all of the learning curves; none to leave these out.
        draws: Draws of the samples of each.
        seconds_per_label: What it takes to label a sample, for the time that is saved.
        seed: Fixes every draw.
        progress: Called with the number of fits done and of all.

    Returns:
        What was found.

    Raises:
        InputError: If frames or groups do not fit, none is held out, or the bundle ships no head.
        LabelError: If the values do not fit the bundle's targets.
    """
    session = regressor._session
    checked = check_frames(frames, session.bundle.manifest.input)
    truth = check_values(values, len(checked), regressor.targets)
    shipped, now = heads_to_compare(session, len(checked), groups, seconds_per_label)
    kept, valued = are_stored(session, checked), np.isfinite(truth[:, 0])
    held = ~kept & valued
    if not held.any():
        raise InputError(
            f"expected held-out frames with a value, found none: the store holds {kept.sum():,} of {len(kept):,}, and "
            f"{(~valued).sum():,} have no value. Keep some aside."
        )
    remarks = []
    if now.version == 0:
        remarks.append("The shipped head is in use: nothing was adapted yet.")
    if kept.any():
        remarks.append(f"{kept.sum():,} frames are left out, since the store holds them.")
    if not valued.all():
        remarks.append(f"{(~valued).sum():,} frames are left out, since they have no value.")
    checked, truth = checked[held], truth[held]
    of = None if groups is None else [group for group, here in zip(groups, held, strict=True) if here]
    latents, per_look = looked_at(session, checked)
    gains = compare_values(
        truth, shipped.head.values(latents), now.head.values(latents), names=now.names, groups=of, seed=seed
    )
    curves: tuple[ErrorCurves, ...] = ()
    if budgets:
        try:
            curves = error_curves(session, latents, truth, budgets=budgets, draws=draws, seed=seed, progress=progress)
        except NotEnoughSamplesError as error:
            remarks.append(f"There are no learning curves: {error}")
    return ErrorPlaceGains(
        gains,
        now.version,
        int(kept.sum()),
        curves,
        tuple(savings(one.transferred, one.scratch) for one in curves),
        seconds_per_label,
        per_look,
        tuple(remarks),
    )
