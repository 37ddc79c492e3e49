"""The maximum mean discrepancy of two domains: how far apart the means of their samples lie in a kernel's space.

References:
    Gretton, Borgwardt, Rasch, Schoelkopf and Smola 2012, "A kernel two-sample test".
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .checks import check_domains
from .kernels import bandwidths, fourier_features, linear, squared_distances

Float64 = NDArray[np.float64]
# Above this many samples of both sides together `mmd` uses random features: 3,000 squared are 72 MB.
EXACT_ROWS = 3_000
# Random features of each bandwidth, and rows that are mapped at a time.
_FEATURES, _ROWS = 1_024, 1_024


class Kernel(Protocol):
    """A kernel between samples."""

    def __call__(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n, m)`` values between ``(n, d)`` and ``(m, d)`` rows."""

    def paired(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n,)`` values between row i of ``(n, d)`` and row i of ``(n, d)``."""


@record()
class Gaussians:
    """The mean of Gaussian kernels of several bandwidths: 1 for a row with itself.

    Args:
        bandwidths: Standard deviations, in units of the features: 1e-150 to 1e150, whose squares are numbers too.

    Raises:
        InputError: If there are none, or others.
    """

    bandwidths: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.bandwidths or not all(1e-150 <= one <= 1e150 for one in self.bandwidths):
            raise InputError(
                f"expected bandwidths above 0, from 1e-150 to 1e150, found {list(self.bandwidths)}. Scale the features."
            )

    def __call__(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n, m)`` values between rows."""
        return self._of(squared_distances(a, b))

    def paired(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n,)`` values between rows of the same place."""
        return self._of(np.square(a - b).sum(axis=1))

    def _of(self, square: Float64) -> Float64:
        result = np.zeros_like(square)
        for one in self.bandwidths:
            result += np.exp(square / (-2 * one**2))
        result /= len(self.bandwidths)
        return result


@record()
class Linear:
    """The product of rows: the discrepancy is the squared distance of the means."""

    def __call__(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n, m)`` products of rows."""
        return linear(a, b)

    def paired(self, a: Float64, b: Float64) -> Float64:
        """Return the ``(n,)`` products of rows of the same place."""
        result: Float64 = (a * b).sum(axis=1)
        return result


def mmd(source: ArrayLike, target: ArrayLike, *, seed: int = 0) -> float:
    """Return the unbiased squared discrepancy with five bandwidths around the median distance.

    Above `EXACT_ROWS` samples of both together it is that of random features, in linear memory and time.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        seed: Fixes the random features.

    Returns:
        The estimate; about 0 where both come from one distribution, and then as often below 0 as above.

    Raises:
        InputError: As `check_domains`.
    """
    rows, others = check_domains(source, target)
    if len(rows) + len(others) <= EXACT_ROWS:
        return unbiased(rows, others)
    return fourier(rows, others, seed=seed)


def biased(source: ArrayLike, target: ArrayLike, kernel: Kernel | None = None) -> float:
    """Return the squared discrepancy of the samples themselves: at least 0, and too great on average.

    With Gaussian kernels it is by ``(1 - a) / n + (1 - b) / m``, where a and b are the mean kernel values of two
    different samples of the source and of the target.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        kernel: By default five Gaussian ones around the median distance of the samples.

    Raises:
        InputError: As `check_domains`.
    """
    rows, others = check_domains(source, target)
    kernel = kernel or default_kernel(rows, others)
    return biased_of(kernel(rows, rows), kernel(others, others), kernel(rows, others))


def unbiased(source: ArrayLike, target: ArrayLike, kernel: Kernel | None = None) -> float:
    """Return an estimate of the distributions' squared discrepancy that is right on average; it may be below 0.

    Args:
        source: As in `biased`.
        target: Likewise.
        kernel: Likewise.

    Raises:
        InputError: As `check_domains`.
    """
    rows, others = check_domains(source, target)
    kernel = kernel or default_kernel(rows, others)
    return unbiased_of(kernel(rows, rows), kernel(others, others), kernel(rows, others))


def linear_time(source: ArrayLike, target: ArrayLike, kernel: Kernel | None = None, *, seed: int = 0) -> float:
    """Return an unbiased estimate from pairs of samples, each used once: cheap, and of great variance.

    Of the larger side, as many samples as the smaller one has are used; an odd one is left out.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        kernel: As in `biased`.
        seed: Fixes how samples are paired.

    Raises:
        InputError: As `check_domains`.

    References:
        Gretton et al. 2012, section 6.
    """
    rows, others = check_domains(source, target)
    kernel = kernel or default_kernel(rows, others)
    draw, half = np.random.default_rng(seed), min(len(rows), len(others)) // 2
    a, b = rows[draw.permutation(len(rows))], others[draw.permutation(len(others))]
    a, a2, b, b2 = a[:half], a[half : 2 * half], b[:half], b[half : 2 * half]
    each = kernel.paired(a, a2) + kernel.paired(b, b2) - kernel.paired(a, b2) - kernel.paired(a2, b)
    return float(each.mean())


def fourier(
    source: ArrayLike,
    target: ArrayLike,
    widths: Sequence[float] | None = None,
    *,
    features: int = _FEATURES,
    seed: int = 0,
) -> float:
    """Return the unbiased squared discrepancy with random features for Gaussian kernels: linear memory and time.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        widths: Bandwidths, whose kernels are averaged; by default five around the median distance.
        features: Random features of each; the error of a kernel value falls as ``1 / sqrt(features)``.
        seed: Fixes the draw.

    Raises:
        InputError: As `check_domains`.
    """
    rows, others = check_domains(source, target)
    chosen = Gaussians(tuple(widths) if widths is not None else bandwidths(rows, others))
    found = 0.0
    for i, one in enumerate(chosen.bandwidths):
        feature_map = fourier_features(rows.shape[1], features, one, seed=seed + i)
        (first, alone), (second, other) = (_sums(feature_map.apply, side) for side in (rows, others))
        n, m = len(rows), len(others)
        within = (float(first @ first) - alone) / (n * (n - 1)) + (float(second @ second) - other) / (m * (m - 1))
        found += within - 2 * float(first @ second) / (n * m)
    return found / len(chosen.bandwidths)


def default_kernel(rows: Float64, others: Float64) -> Gaussians:
    """Return Gaussian kernels of five bandwidths around the median distance of samples."""
    return Gaussians(bandwidths(rows, others))


def biased_of(xx: Float64, yy: Float64, xy: Float64) -> float:
    """Return the biased estimate from kernel values ``(n, n)``, ``(m, m)`` and ``(n, m)``."""
    # Below 0 by rounding only.
    return max(float(xx.mean() + yy.mean() - 2 * xy.mean()), 0.0)


def unbiased_of(xx: Float64, yy: Float64, xy: Float64) -> float:
    """Return the unbiased estimate from kernel values ``(n, n)``, ``(m, m)`` and ``(n, m)``: no row with itself."""
    n, m = xy.shape
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def _sums(apply: "Map", rows: Float64) -> tuple[Float64, float]:
    """Return the sum of features over rows, and the sum of their squares."""
    total: Float64 | None = None
    alone = 0.0
    for start in range(0, len(rows), _ROWS):
        found = apply(rows[start : start + _ROWS])
        total = found.sum(axis=0) if total is None else total + found.sum(axis=0)
        alone += float(np.vdot(found, found))
    if total is None:
        raise AssertionError("domains have rows")
    return total, alone


class Map(Protocol):
    """From rows to features."""

    def __call__(self, x: Float64, /) -> Float64:
        """Return ``(n, c)`` features of ``(n, d)`` rows."""
