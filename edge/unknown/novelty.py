"""The `unknown` verdict: how unlike every known class a latent is, and from where on that is said."""

import math
from dataclasses import replace
from functools import cached_property
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...novelty_arrays import check_novelty, novelty_spec
from ...record import record
from ...tensors import Arrays, Spec

Float32 = NDArray[np.float32]
# Rows that are scored together: the memory of a call is this times the width of the latent, four bytes each.
_BLOCK = 4_096
_TINY = 1e-12


@record(eq=False)
class Novelty:
    """How unlike the known classes a latent is, and the score above which it is unknown.

    With ``z`` the standardised latent and ``u = weight @ z`` its ``m`` discriminants, in which the scatter within the
    classes is the identity, the score is ``log(m + min_c |u - mean_c|^2) + log |r|^2 - offset_c``, where ``r`` is the
    part of ``z`` outside of the span of `weight`. The first term is the Mahalanobis distance to the nearest class (Lee
    et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples") within the discriminants, which
    is what the relative one depends on (Ren et al. 2021, "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
    Detection"); the second one is large where a latent is unlike all others (as the residual in Wang et al. 2022,
    "ViM"). `m` is the distance to be expected of a known one.

    Args:
        centre: ``(d,) float32`` in units of latents.
        scale: ``(d,) float32``, what the centred latent is multiplied with.
        weight: ``(m, d) float32``.
        span: ``(m, m) float32`` with ``|span @ u|^2`` the squared length of the projection of ``z`` on the span of
            `weight`.
        mean: ``(c, m) float32`` discriminants of the class means.
        offset: ``(c,) float32``, above 0 for a class known from the source alone, whose mean may be off.
        threshold: Scores above are unknown.
        rate: Stated false-alarm rate: the share of samples of known classes that are called unknown.
        samples: Number of held-out scores that the threshold comes from; 0 for an approximation from the source's
            statistics.
    """

    centre: Float32
    scale: Float32
    weight: Float32
    span: Float32
    mean: Float32
    offset: Float32
    threshold: float
    rate: float
    samples: int

    def scores(self, latents: Float32) -> Float32:
        """Score latents; the higher, the less like any known class.

        Args:
            latents: ``(n, d) float32``, brought into the range of the codes as for the head (`LatentCode.clip`).

        Returns:
            ``(n,) float32``.
        """
        if len(latents) <= _BLOCK:
            return self._scores(latents)
        return np.concatenate([self._scores(latents[i : i + _BLOCK]) for i in range(0, len(latents), _BLOCK)])

    def unknown(self, latents: Float32) -> NDArray[np.bool_]:
        """Return whether each of ``(n, d) float32`` latents is unlike every known class."""
        result: NDArray[np.bool_] = self.scores(latents) > self.threshold
        return result

    def score(self, latent: Float32) -> float:
        """Return what `scores` gives for one ``(d,) float32`` latent, in a third of the time: by fewer calls."""
        z = latent - self.centre
        z *= self.scale
        u = self.weight.dot(z)
        m, both = len(u), self._inner.dot(u)
        inside, far = both[:m], both[m:]
        far += self._squares
        nearest = far.argmin()
        left = max(float(z.dot(z)) - float(inside.dot(inside)), _TINY)
        apart = max(float(u.dot(u)) + float(far[nearest]), 0.0) + m
        return math.log(apart * left) - float(self.offset[nearest])

    def _scores(self, latents: Float32) -> Float32:
        z = latents - self.centre
        z *= self.scale
        u = z @ self.weight.T
        inside = u @ self.span.T
        left = np.maximum(np.einsum("nd,nd->n", z, z) - np.einsum("nm,nm->n", inside, inside), np.float32(_TINY))
        # Squared distances to the means, less that to the origin.
        far = u @ self._towards
        far += self._squares
        apart = np.maximum(np.einsum("nm,nm->n", u, u) + far.min(axis=1), 0) + np.float32(len(self.weight))
        result: Float32 = np.log(apart * left)
        result -= self.offset[far.argmin(axis=1)]
        return result

    @cached_property
    def _inner(self) -> Float32:
        """``(m + c, m)``: all that discriminants are multiplied with."""
        return np.concatenate([self.span, self._towards.T])

    @cached_property
    def _towards(self) -> Float32:
        return -2 * self.mean.T

    @cached_property
    def _squares(self) -> Float32:
        squares: Float32 = np.einsum("cm,cm->c", self.mean, self.mean)
        return squares

    def keeping(self, kept: NDArray[np.bool_]) -> "Novelty | None":
        """Return the verdict without some classes, which are unlike the known ones from now on.

        An approximation: discriminants and threshold are those of before. What was learnt of the classes that go stays
        in them; forgetting takes a new fit.

        Args:
            kept: ``(c,) bool``, which classes stay, in the order in which they were fitted.

        Returns:
            The verdict, or None if no class stays.
        """
        return replace(self, mean=self.mean[kept], offset=self.offset[kept]) if kept.any() else None

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store beside a head, of the names, types and shapes of `spec`."""
        numbers = np.array([self.threshold, self.rate, self.samples])
        return {
            "novelty.centre": self.centre,
            "novelty.scale": self.scale,
            "novelty.weight": self.weight,
            "novelty.span": self.span,
            "novelty.mean": self.mean,
            "novelty.offset": self.offset,
            "novelty.numbers": numbers,
        }

    @staticmethod
    def spec(width: int) -> Spec:
        """Return what `to_arrays` gives for latents of a width, for `acclimate.tensors.unpack`."""
        return novelty_spec(width)

    @classmethod
    def from_arrays(cls, arrays: Arrays, where: str, classes: int | None = None) -> Self:
        """Read what `to_arrays` gave; `unpack` has checked names, types, shapes and that all is finite.

        Args:
            arrays: The arrays.
            where: What they were read from, for messages.
            classes: How many classes it must know; None for any number.

        Raises:
            BundleFormatError: If they do not fit together.
        """
        check_novelty(arrays, where, classes)
        names = ("centre", "scale", "weight", "span", "mean", "offset")
        centre, scale, weight, span, mean, offset = (cast(Float32, arrays[f"novelty.{name}"]) for name in names)
        threshold, rate, samples = (float(number) for number in cast(NDArray[np.float64], arrays["novelty.numbers"]))
        return cls(centre, scale, weight, span, mean, offset, threshold, rate, int(samples))


def samples_needed(rate: float) -> int:
    """Return how many held-out samples a threshold with a false-alarm rate takes: 19 for 5 %.

    Fewer leave no score that is exceeded so rarely; see `conformal_threshold`.

    Raises:
        InputError: If the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise InputError(f"expected a false-alarm rate above 0 and below 1, found {rate}. The default is 0.05.")
    # 1 / rate - 1, and no more where the division is a little off.
    return math.ceil(1 / rate - 1 - 1e-9)


def conformal_threshold(scores: NDArray[np.floating], rate: float) -> float:
    """Choose the threshold that a further sample of the same kind exceeds with at most a stated probability.

    The ``ceil((n + 1) (1 - rate))``-th smallest of n held-out scores (Vovk, Gammerman and Shafer 2005, "Algorithmic
    Learning in a Random World"): exact for every n and distribution if the further sample is exchangeable with them.

    Args:
        scores: ``(n,)`` scores of samples that the score was not fitted on.
        rate: Stated false-alarm rate.

    Returns:
        The threshold; infinite where n is less than `samples_needed`.
    """
    n = len(scores)
    if n < samples_needed(rate):
        return math.inf
    rank = math.ceil((n + 1) * (1 - rate) - 1e-9)
    return float(np.sort(scores)[rank - 1])
