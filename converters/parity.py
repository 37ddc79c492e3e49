"""Compare the latents of a converted model with those of the original, and refuse a model that lost too much."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ParityError
from ..manifest import Tap
from .quantization.fresh_head import HeadAccuracy

Float32 = NDArray[np.float32]
FLOAT_ERROR = 1e-3
QUANTIZED_COSINE, GOOD_COSINE = 0.9, 0.99
MOST_LOST = 0.5


@dataclass(frozen=True)
class Closeness:
    """How close two sets of latents are.

    Samples are compared after the mean of the expected latents is taken from both: the part that all samples share
    would make any two latents look alike.

    Args:
        cosine: Mean over samples of the cosine.
        least_cosine: The least of them.
        error: Greatest absolute difference, as a share of the expected latents' spread (the root mean square of what is
            left without the mean).
    """

    cosine: float
    least_cosine: float
    error: float


@dataclass(frozen=True)
class Parity:
    """How close two sets of latents are, as a whole and tap by tap.

    Args:
        whole: The whole latent; its error is the greatest of the taps'.
        taps: Each tap by name, in the order of the latent.
    """

    whole: Closeness
    taps: dict[str, Closeness]

    def __str__(self) -> str:
        """One line of figures."""
        worst = min(self.taps, key=lambda name: self.taps[name].cosine)
        return (
            f"centred cosine mean {self.whole.cosine:.4f}, least {self.whole.least_cosine:.4f}, greatest error "
            f"{self.whole.error:.2g} of the spread; worst tap {worst!r} with cosine {self.taps[worst].cosine:.4f}"
        )


def compare(found: Float32, expected: Float32, taps: Sequence[Tap]) -> Parity:
    """Compare latents.

    Args:
        found: ``(n, d) float32`` latents of the converted model, at least two different samples.
        expected: ``(n, d) float32`` latents of the original for the same samples.
        taps: What the latent consists of.

    Returns:
        The figures.
    """
    parts = {}
    for tap in taps:
        columns = slice(tap.offset, tap.offset + tap.width)
        parts[tap.name] = _closeness(found[:, columns], expected[:, columns])
    whole = _closeness(found, expected)
    return Parity(Closeness(whole.cosine, whole.least_cosine, max(part.error for part in parts.values())), parts)


def _closeness(found: Float32, expected: Float32) -> Closeness:
    if not np.isfinite(found).all():
        return Closeness(-1.0, -1.0, float("inf"))
    mean = expected.mean(axis=0, dtype=np.float64)
    a, b = found - mean, expected - mean
    # A tap that is the same for every sample has no spread; its size stands in.
    tiny = 1e-6 * float(np.abs(expected).max()) + 1e-30
    lengths = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), tiny**2)
    cosine = (a * b).sum(axis=1) / lengths
    spread = max(float(np.sqrt(np.mean(b**2))), tiny)
    return Closeness(float(cosine.mean()), float(cosine.min()), float(np.abs(a - b).max()) / spread)


def require_float(parity: Parity, what: str, error: float = FLOAT_ERROR) -> None:
    """Refuse a float export that does not compute what the original does.

    Args:
        parity: Export against original.
        what: What was exported, for the message.
        error: Greatest allowed error, as a share of the spread.

    Raises:
        ParityError: If it is exceeded.
    """
    if not parity.whole.error <= error:
        raise ParityError(
            f"expected the {what} export to give the original's latents within {error:g} of their spread, found: "
            f"{parity}. The exporter computes something else: look at the worst tap's module for operations that "
            f"depend on values, on the batch or on randomness."
        )


def require_quantized(
    parity: Parity,
    what: str,
    cosine: float = QUANTIZED_COSINE,
    head: HeadAccuracy | None = None,
    most_lost: float = MOST_LOST,
) -> None:
    """Refuse a quantized model that lost too much.

    Args:
        parity: Quantized against original.
        what: What was quantized, for the message.
        cosine: Least allowed mean of the centred cosine.
        head: What a fresh head on its latents loses, if that was judged.
        most_lost: Percentage points that it may lose.

    Raises:
        ParityError: If one of them is not kept.
    """
    if not parity.whole.cosine >= cosine:
        raise ParityError(
            f"expected the 8-bit {what} model to keep a mean centred cosine of at least {cosine:g} to the original, "
            f"found: {parity}. What helps: calibration frames that are like the deployment's, another calibration, "
            f"training with simulated quantization, quantize='auto' or 'weights', or quantize=False. "
            f"An untrained model never passes: its samples hardly differ."
        )
    if head is not None and not head.within(most_lost):
        raise ParityError(
            f"expected a fresh head on the 8-bit {what} model's latents to lose at most {most_lost:g} points of "
            f"accuracy, found that it loses {head.lost:.1f} (standard error {head.error:.1f}, {head.samples} samples). "
            f"What helps: quantize='auto' or 'weights', or a looser bound."
        )
