"""Occlusion of a regressor: how far a predicted value falls when a part of the frame is hidden."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .occlusion import MOST, Float64, Frames, Occlusion, Progress, occlude, steps_of

if TYPE_CHECKING:
    from ..regression.regressor import Regressor


def occlude_regressor(
    regressor: "Regressor",
    frames: Frames,
    *,
    target: str | None = None,
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: float | NDArray[np.generic] | None = None,
    most: int = MOST,
    progress: Progress | None = None,
) -> Occlusion:
    """Hide parts of raw frames from a regressor, and see how far a value falls.

    Patches move as `occlude_learner` says. See `occlude` for the rest.

    Args:
        regressor: The regressor.
        frames: ``(n, *shape)`` raw frames, or one.
        target: Name of the value to watch; None for the first.
        patch: Sides of a patch; None for an eighth of each side.
        stride: Steps between patches; None for half a patch.
        fill: What stands in the hidden place; None for the frame's own mean.
        most: Looks that the regressor may be asked for.
        progress: Called with the number of looks done and of all.

    Returns:
        The heat of every place in units of the target: what raises the value counts above 0.

    Raises:
        InputError: If the frames do not fit the bundle, there is no such target, or there is no head.
        BudgetError: If it takes more looks than `most`.
    """
    column = column_of(regressor.targets, target)
    spec = regressor._session.bundle.manifest.input
    checked = np.asarray(frames)
    checked = checked[np.newaxis] if checked.shape == spec.shape else checked

    def values(some: Frames) -> Float64:
        return regressor.predict(some).values.astype(np.float64)

    return occlude(
        values,
        checked,
        axes=steps_of(spec.axes),
        patch=patch,
        stride=stride,
        fill=fill,
        target=column,
        most=most,
        progress=progress,
    )


def column_of(names: Sequence[str], target: str | None) -> int:
    """Return the place of a target, the first for None.

    Raises:
        InputError: If there is none of that name.
    """
    if target is None:
        return 0
    if target not in names:
        raise InputError(f"expected one of the targets {', '.join(map(repr, names))}, found {target!r:.80}.")
    return list(names).index(target)
