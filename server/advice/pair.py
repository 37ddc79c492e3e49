"""A source and a target as methods of transfer see them: checked, with classes that both number alike."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pair:
    """Samples of both sides in one space.

    Args:
        source_x: ``(n, d)``.
        source_y: ``(n,)`` classes, 0 to k - 1.
        target_x: ``(m, d)`` the target's labelled samples; m may be 0.
        target_y: ``(m,)`` their classes, 0 to k - 1.
        unlabelled: ``(u, d)`` the target's other samples; u may be 0.
        k: Classes of both sides together.
        seed: Fixes what methods draw.
    """

    source_x: Float64
    source_y: Int64
    target_x: Float64
    target_y: Int64
    unlabelled: Float64
    k: int
    seed: int = 0

    @property
    def target(self) -> Float64:
        """``(m + u, d)`` all samples of the target, of which only features are looked at."""
        return np.concatenate([self.target_x, self.unlabelled])

    @property
    def shared(self) -> Int64:
        """Classes that both sides have labelled samples of."""
        return np.intersect1d(self.source_y, self.target_y)

    def labelled(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Pair":
        """Return the pair with only some of the target's labelled samples; the others are gone."""
        return replace(self, target_x=self.target_x[rows], target_y=self.target_y[rows])
