"""Without any correction: the target's samples alone, the source's alone, or both as they are."""

from dataclasses import dataclass

import numpy as np

from .head import fit_linear
from .method import BALANCED, POOL, SOURCE_ONLY, TARGET_ONLY, Predictor
from .pair import Pair


@dataclass(frozen=True)
class TargetOnly:
    """Do not transfer."""

    name: str = TARGET_ONLY
    family: str = "none"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        if len(pair.target_y) and len(np.unique(pair.target_y)) > 1:
            return None
        return f"needs labelled target samples of two classes, found {len(np.unique(pair.target_y))}"

    def fit(self, pair: Pair) -> Predictor:
        """Fit the target's labelled samples."""
        return fit_linear(pair.target_x, pair.target_y, pair.k)


@dataclass(frozen=True)
class SourceOnly:
    """Take the source's classifier as it is."""

    name: str = SOURCE_ONLY
    family: str = "model"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None

    def fit(self, pair: Pair) -> Predictor:
        """Fit the source's samples."""
        return fit_linear(pair.source_x, pair.source_y, pair.k)


@dataclass(frozen=True)
class Pooled:
    """Fit the samples of both sides together.

    Args:
        balanced: Whether the target's samples together count as much as the source's.
    """

    balanced: bool = False
    family: str = "instance"

    @property
    def name(self) -> str:
        """Its name."""
        return BALANCED if self.balanced else POOL

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None if len(pair.target_y) else "needs labelled target samples, found none"

    def fit(self, pair: Pair) -> Predictor:
        """Fit both."""
        x = np.concatenate([pair.source_x, pair.target_x])
        y = np.concatenate([pair.source_y, pair.target_y])
        weight = np.ones(len(y))
        if self.balanced:
            weight[len(pair.source_y) :] = len(pair.source_y) / len(pair.target_y)
        return fit_linear(x, y, pair.k, weight)
