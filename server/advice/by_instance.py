"""By instance: source samples count by how much they resemble the target's, or by how boosting trusts them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge.transfer.weighting import Weigher
from ..transfer.tradaboost import tradaboost
from .head import Linear, fit_linear
from .method import Predictor
from .pair import Float64, Int64, Pair


@dataclass(frozen=True)
class Weighted:
    """Importance weights of the source's samples, pooled with the target's labelled ones.

    Args:
        name: The weigher's name.
        weigher: Makes it, given a seed.
    """

    name: str
    weigher: Callable[[int], Weigher] = field(repr=False)
    family: str = "instance"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        found = len(pair.target)
        return None if found > 1 else f"needs two target samples to compare with, found {found}"

    def fit(self, pair: Pair) -> Predictor:
        """Weigh the source's samples; together they count as many as their effective size says."""
        found = self.weigher(pair.seed).weigh(pair.source_x, pair.target)
        weight = found.weight * (found.effective_size / len(found.weight))
        return fit_linear(
            np.concatenate([pair.source_x, pair.target_x]),
            np.concatenate([pair.source_y, pair.target_y]),
            pair.k,
            np.concatenate([weight, np.ones(len(pair.target_y))]),
        )


@dataclass(frozen=True)
class TrAdaBoost:
    """TrAdaBoost on the same classifier as all other methods.

    Args:
        rounds: How many classifiers are fitted.
    """

    rounds: int = 10
    name: str = "tradaboost"
    family: str = "instance"

    def why_not(self, pair: Pair) -> str | None:
        """See `TransferMethod.why_not`."""
        if len(pair.target_y) < 2:
            return f"needs two labelled target samples, found {len(pair.target_y)}"
        return None if len(pair.shared) else "needs a class that both sides have, found none"

    def fit(self, pair: Pair) -> Predictor:
        """Boost."""
        source, target = (pair.source_x, pair.source_y), (pair.target_x, pair.target_y)
        found = tradaboost(lambda: _Learner(pair.k), [source], target, rounds=self.rounds)

        def predict(x: Float64) -> Float64:
            result = np.zeros((len(x), pair.k))
            result[:, found.classes] = found.scores(x)
            return result

        return predict


class _Learner:
    """What is boosted."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.head: Linear | None = None

    def fit(self, x: Float64, y: Int64, sample_weight: Float64) -> object:
        self.head = fit_linear(x, y, self.k, sample_weight)
        return self

    def predict(self, x: Float64) -> NDArray[Any]:
        if self.head is None:
            raise AssertionError("fit comes first")
        return np.asarray(self.head(x).argmax(axis=1))
