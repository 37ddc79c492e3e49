"""The `prototype` head: one mean per class, nearest mean wins."""

import numpy as np

from .closed import Scores, grid, solve
from .problem import Float64, Problem, Setting, Weights


class Prototype:
    """Nearest class mean in Euclidean distance, as the linear layer ``(2 mu, -|mu|^2)`` that it equals.

    On normalised latents this is weight imprinting (Qi, Brown and Lowe 2018, "Low-Shot Learning with Imprinted
    Weights") and the classifier of prototypical networks (Snell, Swersky and Zemel 2017). It has no regularisation;
    logits are divided by the number of dimensions, so that their scale does not grow with the width. Classes are
    equally likely, whatever their weight.
    """

    name = "prototype"

    def settings(self, problem: Problem) -> tuple[Setting, ...]:
        """Return one setting per source weight."""
        return grid(self.name, problem, (0.0,))

    def solve(self, problem: Problem, settings: tuple[Setting, ...], *, draft: bool = False) -> list[Weights]:
        """Compute class means. See `Head.solve`."""
        return solve(self, problem, settings)

    def strength(self, setting: Setting) -> float:
        """Return infinity: no scatter is looked at. See `ClosedForm.strength`."""
        return np.inf

    def mix(self, scores: Scores) -> tuple[Float64, Float64]:
        """Return twice the scores, and the squared norms for a bias. See `ClosedForm.mix`."""
        width = scores.sums.total.shape[1]
        return 2 / width * scores.cross, -scores.squares / width
