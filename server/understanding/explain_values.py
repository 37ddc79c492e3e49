"""Explain the values that a regressor predicts for some frames."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge.checks import check_frames
from ...edge.regression.regressor import Regressor
from ...edge.understanding.occluded_values import column_of, occlude_regressor
from ...errors import InputError
from .explanation import Explanation, Float64

Progress = Callable[[int, int], None]


def explain_regressor(
    regressor: Regressor,
    frames: NDArray[Any],
    *,
    target: str | None = None,
    names: Sequence[str] = (),
    truth: NDArray[np.float64] | None = None,
    patch: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain what an opened regressor predicts, by occlusion.

    Args:
        regressor: The regressor.
        frames: ``(n, *shape)`` raw samples.
        target: Name of the value; None for the first.
        names: What the frames are called; by default their numbers.
        truth: ``(n,)`` true values of that target, NaN for a frame without; or None.
        patch: Sides of what is hidden; None for an eighth of the frame.
        progress: Called with the number of looks done and of all.

    Returns:
        The explanation, in units of the target: what raises the value counts above 0.

    Raises:
        InputError: If frames, names, values or the target do not fit.
        BudgetError: If it takes too many looks.
    """
    checked = check_frames(frames, regressor._session.bundle.manifest.input)
    n, called = len(checked), tuple(names) or tuple(str(i) for i in range(len(checked)))
    known: Float64 = np.full(n, np.nan) if truth is None else np.asarray(truth, np.float64)
    if len(called) != n or known.shape != (n,):
        raise InputError(
            f"expected a name and a value for each of {n} frames, found {len(called)} and shape {known.shape}."
        )
    if np.isinf(known).any():
        raise InputError("expected finite values, or NaN for a frame without, found infinity. Look at the values.")
    name = regressor.targets[column_of(regressor.targets, target)]
    found = occlude_regressor(regressor, checked, target=name, patch=patch, progress=progress)
    told = tuple(f"{value:.6g}" for value in found.score)
    labels = tuple(None if value != value else f"{value:.6g}" for value in known)
    return Explanation(
        "occlusion", checked, found.heat, called, (name,) * n, told, labels, found.score, name, task="regression"
    )
