"""How alike the variants of a bundle answer: their latents, and what the shipped heads make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import LinearLayer
from ..errors import ParityError
from ..latent import LatentCode
from ..manifest import Runtime, Tap, Task
from .parity import FLOAT_ERROR, Closeness, compare

Float32 = NDArray[np.float32]
# Float variants below these are refused: only rounding may set them apart.
FLOAT_COSINE, FLOAT_SAME, FLOAT_APART = 0.999, 0.99, 0.05
# Variants with 8 bits in them below these are warned of.
LEAST_COSINE, LEAST_SAME, MOST_APART = 0.95, 0.95, 0.25


@dataclass(frozen=True)
class Likeness:
    """How alike two sets of answers to the same samples are.

    Args:
        same: For classification, share of the samples for which the same class comes first; else None.
        apart: For regression, the greatest difference, as a share of the spread (standard deviation over the samples)
            that the original's values of that target have; else None.
    """

    same: float | None = None
    apart: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a user should be warned."""
        return (self.same is not None and self.same < LEAST_SAME) or (
            self.apart is not None and not self.apart <= MOST_APART
        )

    def __str__(self) -> str:
        """What it says, in words."""
        if self.same is not None:
            return f"the same class for {100 * self.same:.1f} % of the samples"
        return f"values that differ by {self.apart:.2g} of their spread at most"


@dataclass(frozen=True, eq=False)
class Answers:
    """What one variant gives for the samples that parity is measured on.

    Args:
        runtime: Its runtime.
        in_float: Whether its file is a float one.
        latents: ``(n, d) float32``.
        task: What the head's outputs mean.
        outputs: ``(n, k) float32``, what the shipped head gives for them on a device; None without a head.
        expected: ``(n, k) float32``, what the same head gives for the original's latents; None likewise.
    """

    runtime: Runtime
    in_float: bool
    latents: Float32
    task: Task
    outputs: Float32 | None = None
    expected: Float32 | None = None

    @classmethod
    def of(
        cls,
        runtime: Runtime,
        in_float: bool,
        latents: Float32,
        original: Float32,
        head: LinearLayer | None,
        code: LatentCode,
        task: Task,
    ) -> "Answers":
        """Answer with the shipped head, from a variant's latents and from the original's, ``(n, d) float32``."""
        if head is None:
            return cls(runtime, in_float, latents, task)
        # A device clips what lies outside of the range of its codes.
        outputs, expected = (rows @ head.weight.T + head.bias for rows in (code.clip(latents), original))
        return cls(runtime, in_float, latents, task, outputs, expected)

    def with_original(self) -> Likeness | None:
        """Return how alike variant and original answer; None without a head."""
        if self.outputs is None or self.expected is None:
            return None
        return _likeness(self.outputs, self.expected, self.expected, self.task)


@dataclass(frozen=True)
class Agreement:
    """How alike the two variants of a bundle answer, each by its own file and head.

    Args:
        samples: How many samples both were asked.
        in_float: Whether both files are float ones.
        latents: The second variant's latents against the first's; the error is the greatest of the taps'.
        answers: What the shipped heads say; None without.
        one_head: Whether both ship the same head. A fitted one is fitted on each variant's own latents.
    """

    samples: int
    in_float: bool
    latents: Closeness
    answers: Likeness | None
    one_head: bool

    def __str__(self) -> str:
        """One line of figures."""
        closeness = (
            f"over {self.samples:,} samples latents have a centred cosine of {self.latents.cosine:.4f} and differ by "
            f"{self.latents.error:.2g} of their spread at most"
        )
        return closeness if self.answers is None else f"{closeness}; the shipped heads give {self.answers}"

    @property
    def doubtful(self) -> bool:
        """Whether a user should be warned."""
        return not self.latents.cosine >= LEAST_COSINE or (self.answers is not None and self.answers.doubtful)


def agreement(variants: Sequence[Answers], taps: Sequence[Tap]) -> Agreement | None:
    """Compare the answers of two variants; None where there is one alone.

    Args:
        variants: Their answers to the same samples.
        taps: What the latents consist of.

    Raises:
        ParityError: If both are float files, and more than rounding sets them apart.
    """
    if len(variants) < 2:
        return None
    one, other = variants
    answers = None
    if one.outputs is not None and other.outputs is not None and one.expected is not None:
        answers = _likeness(other.outputs, one.outputs, one.expected, one.task)
    one_head = one.expected is not None and other.expected is not None and np.array_equal(one.expected, other.expected)
    latents = compare(other.latents, one.latents, taps).whole
    found = Agreement(len(one.latents), one.in_float and other.in_float, latents, answers, one_head)
    if found.in_float:
        _require_float(found)
    return found


def _likeness(found: Float32, expected: Float32, original: Float32, task: Task) -> Likeness:
    if task == "classification":
        return Likeness(same=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()))
    # A target that is the same for every sample has no spread; its size stands in.
    tiny = 1e-6 * np.abs(original).max(axis=0) + 1e-30
    spread = np.maximum(original.std(axis=0, dtype=np.float64), tiny)
    return Likeness(apart=float((np.abs(found - expected) / spread).max()))


def _require_float(found: Agreement) -> None:
    # Latents that hardly vary have no direction, but are as close as each is to the original.
    close = found.latents.cosine >= FLOAT_COSINE or found.latents.error <= 2 * FLOAT_ERROR
    alike = True
    if found.answers is not None and found.one_head:
        same, apart = found.answers.same, found.answers.apart
        # Rounding may decide a tie.
        alike = (same is None or 1 - same <= max(1 - FLOAT_SAME, 1 / found.samples) + 1e-9) and (
            apart is None or apart <= FLOAT_APART
        )
    if not (close and alike):
        raise ParityError(
            f"expected the float variants for ONNX Runtime and LiteRT to give the same answers (centred cosine "
            f"{FLOAT_COSINE:g}, the same class for {100 * FLOAT_SAME:g} % of the samples, values within "
            f"{FLOAT_APART:g} of their spread), found: {found}. One of the exporters computes something else: convert "
            f"for one runtime alone, and compare what a device predicts with the model."
        )
