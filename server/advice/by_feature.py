"""By feature: source and target are brought into one space first."""

from dataclasses import dataclass

import numpy as np

from ...edge.transfer.augmentation import augment
from ...edge.transfer.components import transfer_components
from ...edge.transfer.coral import coral_samples
from .head import fit_linear
from .method import Predictor
from .pair import Float64, Pair

_FEW_TARGETS = 5


def _few(pair: Pair) -> str | None:
    found = len(pair.target)
    return None if found >= _FEW_TARGETS else f"needs {_FEW_TARGETS} target samples to compare with, found {found}"


@dataclass(frozen=True)
class Coral:
    """CORAL: the source's samples get the target's mean and covariance, and are pooled with its labelled ones."""

    name: str = "coral"
    family: str = "feature"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return _few(pair)

    def fit(self, pair: Pair) -> Predictor:
        """Map the source's samples, and fit."""
        moved = coral_samples(pair.source_x, pair.target).apply(pair.source_x)
        x = np.concatenate([moved, pair.target_x])
        return fit_linear(x, np.concatenate([pair.source_y, pair.target_y]), pair.k)


@dataclass(frozen=True)
class TransferComponents:
    """TCA with a linear kernel: directions in which the means of both sides are near, and samples vary.

    Args:
        count: Components at most.
    """

    count: int = 50
    name: str = "tca"
    family: str = "feature"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return _few(pair)

    def fit(self, pair: Pair) -> Predictor:
        """Project both sides, and fit."""
        found = transfer_components(pair.source_x, pair.target, self.count)
        x = found.project(np.concatenate([pair.source_x, pair.target_x]))
        # Coefficients of length 1 leave coordinates on any scale.
        scale = max(float(np.sqrt((x * x).mean())), 1e-12)
        head = fit_linear(x / scale, np.concatenate([pair.source_y, pair.target_y]), pair.k)
        return lambda rows: head(found.project(rows) / scale)


@dataclass(frozen=True)
class Augmented:
    """Feature augmentation: a classifier learns what both sides share, and what holds in the target alone."""

    name: str = "augmentation"
    family: str = "feature"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None if len(pair.target_y) else "needs labelled target samples, found none"

    def fit(self, pair: Pair) -> Predictor:
        """Fit copies of the features, the target's samples counting as much as the source's."""
        x = np.concatenate([augment(pair.source_x, 0), augment(pair.target_x, 1)])
        weight = np.ones(len(x))
        weight[len(pair.source_x) :] = len(pair.source_x) / len(pair.target_x)
        head = fit_linear(x, np.concatenate([pair.source_y, pair.target_y]), pair.k, weight)

        def predict(rows: Float64) -> Float64:
            return head(augment(rows, 1))

        return predict
