"""Kernel mean matching: weights under which the source's mean in a kernel's feature space is the target's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from ...record import record
from .interior_point import minimise
from .kernels import gaussian, median_bandwidth
from .pivoted_cholesky import pivoted_cholesky
from .quadratic import Box, Minimum, descend
from .weighting import LEAST_SHARE, Domains, SampleWeights, bounded, check_settings

Float64 = NDArray[np.float64]
# Up to so many source rows the kernel matrix is held whole; above, it is factored, its rank at most the other.
EXACT, RANK = 1_000, 400
# Of the kernel's trace, what the factor may leave out; and kernel values held at a time.
_LEFT_OUT, _TOGETHER = 1e-7, 1 << 22
# How far the loss may be from the least, as a share of it.
_TOLERANCE = 1e-6


@record()
class KMM:
    """Kernel mean matching with a Gaussian kernel.

    Huang, Smola, Gretton, Borgwardt and Schoelkopf 2006, "Correcting sample selection bias by unlabeled data": the
    least ``1/2 w' K w - k' w`` with ``k_i = n / m sum_j k(x_i, t_j)``, ``0 <= w <= limit`` and
    ``|sum w - n| <= n slack``. Very different weights are nearly as good as the best: compare losses (see `match`),
    never weights. A ridge, ``ridge / 2 |w|^2`` more, chooses the calmest of them; 0 is the paper's. With at most
    `EXACT` source rows the kernel matrix is held whole. Above, it is factored until 1e-7 of its trace is left or its
    rank is `RANK`; of the rest the diagonal is kept, and the note says how much of the trace that is. Time and memory
    are then linear in the rows of both sides.

    Args:
        limit: Greatest weight before the weights are normalised, above 1.
        slack: How far the weights' mean may be from 1, above 0; ``(sqrt(n) - 1) / sqrt(n)`` of the paper if None.
        ridge: At least 0; 1 counts the noise of few heavy samples once more than the kernel's own diagonal does.
        bandwidth: Of the kernel; the median distance if None.
        least_share: See `bounded`.
    """

    limit: float = 1_000.0
    slack: float | None = None
    ridge: float = 1.0
    bandwidth: float | None = None
    least_share: float = LEAST_SHARE

    def __post_init__(self) -> None:
        check_settings(self.least_share, self.bandwidth)
        if not self.limit > 1:
            raise InputError(f"expected a limit above 1, found {self.limit}. Weights have mean 1; 1000 is the paper's.")
        if self.slack is not None and not self.slack > 0:
            raise InputError(f"expected a slack above 0, found {self.slack}. 0.1 lets the mean be 0.9 to 1.1.")
        if not self.ridge >= 0:
            raise InputError(f"expected a ridge of at least 0, found {self.ridge}. 1 is usual.")

    @property
    def name(self) -> str:
        """Its name."""
        return "kmm"

    def weigh(self, source: ArrayLike, target: ArrayLike) -> SampleWeights:
        """See `Weigher.weigh`."""
        domains = Domains.of(source, target)
        bandwidth = self.bandwidth or median_bandwidth(domains.source, domains.target)
        found, left_out = match(
            domains.source, domains.target, bandwidth, limit=self.limit, slack=self.slack, ridge=self.ridge
        )
        notes = [f"bandwidth {bandwidth:.3g}"]
        if left_out > _LEFT_OUT:
            why = f"since there are over {EXACT:,} source rows"
            notes.append(f"kernel of rank {RANK} {why}: it leaves {left_out:.2g} of the trace out")
        weight = domains.given(np.maximum(found.x, 0.0))
        clipped = float(np.mean(weight >= self.limit * (1 - 1e-3)))
        return bounded(weight, least_share=self.least_share, clipped=clipped, notes=notes)


def match(
    source: Float64,
    target: Float64,
    bandwidth: float,
    *,
    limit: float = 1_000.0,
    slack: float | None = None,
    ridge: float = 0.0,
) -> tuple[Minimum, float]:
    """Minimise the loss of kernel mean matching.

    Args:
        source: ``(n, d)`` samples.
        target: ``(m, d)`` samples.
        bandwidth: Of the Gaussian kernel.
        limit: Greatest weight.
        slack: How far the weights' mean may be from 1; the paper's if None.
        ridge: Added to the kernel's diagonal.

    Returns:
        The ``(n,)`` weights with their loss and how far it is at most from the least; and the share of the kernel's
        trace that the factor leaves out, of which only the diagonal is kept.
    """
    n = len(source)
    slack = (np.sqrt(n) - 1) / np.sqrt(n) if slack is None else slack
    box = Box(limit, n * max(1 - slack, 0.0), n * min(1 + slack, (1 + limit) / 2))
    if n <= EXACT:
        kernel = gaussian(source, source, bandwidth)
        linear = _alike(source, target, bandwidth) * (n / len(target))
        found = descend(lambda x: kernel @ x + ridge * x, linear, box, tolerance=_TOLERANCE)
        if found.gap <= _TOLERANCE * abs(found.value):
            return found, 0.0
    factor, left, chosen = pivoted_cholesky(
        lambda row: gaussian(source, source[row : row + 1], bandwidth)[:, 0],
        np.ones(n),
        n if n <= EXACT else RANK,
        tolerance=_LEFT_OUT,
    )
    left_out = float(left.sum() / n)
    if left_out > _LEFT_OUT:
        # The target's rows are seen through the same approximation, or its error would not cancel.
        near = _alike(source[chosen], target, bandwidth) * (n / len(target))
        linear = factor @ np.linalg.solve(factor[chosen], near)
    else:
        linear = _alike(source, target, bandwidth) * (n / len(target))
    return minimise(factor, left + ridge, linear, box, tolerance=_TOLERANCE), left_out


def _alike(rows: Float64, target: Float64, bandwidth: float) -> Float64:
    """Return the ``(n,)`` sums of kernel values of rows with all of the target, a few rows of it at a time."""
    result = np.zeros(len(rows))
    size = max(_TOGETHER // len(rows), 1)
    for start in range(0, len(target), size):
        result += gaussian(rows, target[start : start + size], bandwidth).sum(axis=1)
    return result
