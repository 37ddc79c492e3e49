"""What a way of transfer is: one small protocol, so that all are compared alike."""

from collections.abc import Callable
from typing import Protocol

from .pair import Float64, Pair

# Probabilities (n, k) of samples (n, d).
Predictor = Callable[[Float64], Float64]
TARGET_ONLY, SOURCE_ONLY, POOL, BALANCED = "target only", "source only", "pool", "balanced pool"


class TransferMethod(Protocol):
    """A way to make a classifier for the target. Deterministic: what it draws, the pair's seed fixes."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def family(self) -> str:
        """``"none"``, ``"instance"``, ``"feature"``, ``"model"`` or ``"label"``: what it transfers by."""

    def why_not(self, pair: Pair) -> str | None:
        """Return in words what it lacks on this pair, or None where it can be fitted."""

    def fit(self, pair: Pair) -> Predictor:
        """Fit it, where `why_not` has nothing to say.

        Returns:
            What gives ``(n, k)`` probabilities of ``(n, d)`` samples of the target.
        """
