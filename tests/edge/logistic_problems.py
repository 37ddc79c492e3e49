"""Objectives of logistic regression that several tests minimise."""

from dataclasses import dataclass

import numpy as np

from acclimate.edge.heads.logistic import Objective, probabilities


@dataclass(frozen=True)
class Draw:
    """Sizes of random objectives.

    Args:
        n: Samples.
        m: Dimensions.
        k: Classes.
        s: Objectives.
    """

    n: int = 20
    m: int = 4
    k: int = 3
    s: int = 2

    def objective(self, seed: int, floor: float = 0.0) -> Objective:
        """Draw unequal weights, a penalty for each weight and objective, and priors."""
        rng, shape = np.random.default_rng(seed), (self.k, self.s, self.m + 1)
        weight = rng.uniform(0.1, 1, self.n)
        x, y = rng.normal(size=(self.n, self.m)), rng.integers(0, self.k, self.n)
        return Objective(x, y, weight / weight.sum(), rng.uniform(0, 0.5, shape) + floor, rng.normal(size=shape))

    def point(self, seed: int) -> np.ndarray:
        """Draw weights."""
        return np.random.default_rng((seed, 1)).normal(size=(self.k, self.s, self.m + 1))


def gradient(objective: Objective, theta: np.ndarray) -> np.ndarray:
    """Return the gradient, from the weights alone."""
    return np.asarray(objective.gradient(theta - objective.prior, probabilities(objective.logits(theta))))
