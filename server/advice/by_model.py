"""By model: the source's classifier, or the statistics that it needs, are where the target's samples start from."""

from dataclasses import dataclass

import numpy as np

from ...edge.heads import LDA, Problem, Setting, SourceTerm
from ...edge.transfer.label_shift import estimate_prior
from .head import STRENGTH, Linear, fit_linear
from .method import Predictor
from .pair import Pair

# Of the posteriors; few samples are drawn to the source's mix by so many at it.
_DRAWN = 5.0


@dataclass(frozen=True)
class DrawnToSource:
    """L2-SP: weights are drawn to the source's classifier rather than to 0.

    Args:
        pull: How much more strongly than other methods' weights are drawn to 0.
    """

    pull: float = 1.0
    family: str = "model"

    @property
    def name(self) -> str:
        """Its name."""
        return "l2-sp" if self.pull == 1 else f"l2-sp, pull {self.pull:g}"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None if len(pair.target_y) else "needs labelled target samples, found none"

    def fit(self, pair: Pair) -> Predictor:
        """Fit the source, then the target near to it."""
        home = fit_linear(pair.source_x, pair.source_y, pair.k)
        return fit_linear(pair.target_x, pair.target_y, pair.k, towards=home, strength=self.pull * STRENGTH)


@dataclass(frozen=True)
class SourceStatistics:
    """Linear discriminant analysis on the target's samples and the source's class means and scatter.

    Args:
        weight: Of one source sample against one of the target.
    """

    weight: float = 1 / 16
    name: str = "source statistics"
    family: str = "model"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None if len(pair.target_y) else "needs labelled target samples, found none"

    def fit(self, pair: Pair) -> Predictor:
        """Add both up, and solve."""
        count = np.bincount(pair.source_y, minlength=pair.k).astype(np.float64)
        mean = np.zeros((pair.k, pair.source_x.shape[1]))
        np.add.at(mean, pair.source_y, pair.source_x)
        mean /= np.maximum(count, 1)[:, None]
        apart = pair.source_x - mean[pair.source_y]
        term = SourceTerm(count, mean, apart.T @ apart)
        problem = Problem(pair.target_x, pair.target_y, pair.k, source=term)
        found = LDA().solve(problem, (Setting("lda", 1.0, self.weight),))[0]
        return Linear(found.weight, found.bias)


@dataclass(frozen=True)
class LabelBalance:
    """The source's classifier with biases for the target's mix of classes (Saerens et al. 2002)."""

    name: str = "label shift"
    family: str = "label"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        return None if len(pair.target) > 1 else f"needs two target samples, found {len(pair.target)}"

    def fit(self, pair: Pair) -> Predictor:
        """Estimate the mix on all of the target's samples, and move the biases."""
        head = fit_linear(pair.source_x, pair.source_y, pair.k)
        found = estimate_prior(head(pair.target), np.bincount(pair.source_y, minlength=pair.k), drawn=_DRAWN)
        return Linear(head.weight, np.maximum(found.correct(head.bias), head.bias.min()))
