"""One space for both sides: features standardised, and turned to few axes in which samples vary most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .pair import Float64

# Axes that are kept at most; every method works in them.
MOST_AXES = 100
# Of a column's greatest size: what varies less is constant but for rounding.
_CONSTANT = 1e-9
# Of the largest singular value: below is rounding.
_RANK = 1e-8


@dataclass(frozen=True, eq=False)
class Space:
    """What samples of either side are brought through.

    Args:
        varies: ``(d,)`` which features are kept.
        centre: ``(v,)`` what is taken off them.
        scale: ``(v,)`` what they are divided by then.
        axes: ``(v, a)`` what they are turned to, or None where they stay.
    """

    varies: NDArray[np.bool_]
    centre: Float64
    scale: Float64
    axes: Float64 | None

    def apply(self, x: Float64) -> Float64:
        """Return ``(n, a)`` coordinates of ``(n, d)`` samples."""
        result: Float64 = (x[:, self.varies] - self.centre) / self.scale
        return result if self.axes is None else result @ self.axes


def common_space(source: Float64, target: Float64) -> tuple[Space, list[str]]:
    """Find the space: features brought to variance 1, and principal axes where there are many. No label is looked at.

    The variance is the mean of that of both sides, so that a shift between them does not shrink what varies within.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.

    Returns:
        The space, of at most `MOST_AXES` axes, and in words what was lost.

    Raises:
        InputError: If no feature varies within a side.
    """
    notes = []
    x = np.concatenate([source, target])
    centre, variance = x.mean(axis=0), (source.var(axis=0) + target.var(axis=0)) / 2
    # What only tells the sides apart tells no classes.
    varies = np.sqrt(variance) > _CONSTANT * np.maximum(np.abs(x).max(axis=0), 1e-300)
    if not varies.any():
        raise InputError("expected features that vary, found that all are constant. Look at what computed them.")
    if not varies.all():
        notes.append(f"{int((~varies).sum())} of {len(varies)} features are constant within both sides: left out")
    space = Space(varies, centre[varies], np.sqrt(variance[varies]), None)
    x = space.apply(x)
    if len(source) < x.shape[1]:
        notes.append(f"fewer source samples ({len(source)}) than features ({x.shape[1]})")
    if len(x) > x.shape[1] and x.shape[1] <= MOST_AXES:
        return space, notes
    _, size, axes = np.linalg.svd(x, full_matrices=False)
    count = min(MOST_AXES, int((size > _RANK * size[0]).sum()))
    kept = float((size[:count] ** 2).sum() / (size**2).sum())
    notes.append(f"{count} principal axes stand for the features: {kept:.1%} of their variance")
    return Space(varies, space.centre, space.scale, np.ascontiguousarray(axes[:count].T)), notes
