"""The `prototype` head: one mean per class, nearest mean wins."""

import numpy as np

from .problem import ABSENT, Problem, Setting, Weights, weighted_means

SOURCE_WEIGHTS = (0.0, 1 / 64, 1 / 16, 1 / 4, 1.0)


class Prototype:
    """Nearest class mean in Euclidean distance, as the linear layer ``(2 mu, -|mu|^2)`` that it equals.

    On normalised latents this is weight imprinting (Qi, Brown and Lowe 2018, "Low-Shot Learning with Imprinted
    Weights") and the classifier
    of prototypical networks (Snell, Swersky and Zemel 2017). It has no regularisation; logits are
    divided by the number of dimensions, so that their scale does not grow with the width.
    """

    name = "prototype"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return one setting per source weight."""
        weights = SOURCE_WEIGHTS if problem.source is not None else (0.0,)
        return tuple(Setting(self.name, 0.0, weight) for weight in weights)

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Compute class means. See `Head.solve`."""
        return [_prototypes(problem, setting.source_weight) for setting in settings]


def _prototypes(problem: Problem, source_weight: float) -> Weights:
    count, mean = weighted_means(problem, source_weight)
    scale = mean.shape[1]
    bias = -(mean**2).sum(axis=1) / scale
    return Weights(2 * mean / scale, np.where(count > 0, bias, ABSENT))
