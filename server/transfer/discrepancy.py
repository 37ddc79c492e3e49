"""Maximum mean discrepancy as a loss: how far apart the features of two batches are, in one number with a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...errors import InputError

# Multiples of the median distance: narrow kernels see detail, wide ones distance.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Where all rows are alike, the median is 0 and every kernel is 1, whatever its bandwidth.
_ALIKE = 1.0


class Discrepancy(Protocol):
    """How far apart two samples of features are: the R of ``min L(theta) + lambda R(theta)``."""

    @property
    def name(self) -> str:
        """What it is called."""

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Return a scalar of ``(n, d)`` and ``(m, d)``; n and m may differ."""


@dataclass(frozen=True)
class MultiKernelMMD:
    """Squared MMD under the mean of several Gaussian kernels, unbiased.

    Args:
        factors: Bandwidths as multiples of the median distance between the rows of both samples. No gradient passes
            through that median.

    References:
        Gretton et al. 2012, "A kernel two-sample test", lemma 6. Long et al. 2015, "Learning transferable features with
        deep adaptation networks" (DAN), there with kernels of unsquared distances in common implementations.
    """

    factors: tuple[float, ...] = FACTORS
    name: str = "mk-mmd"

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the discrepancy of ``(n, d)`` and ``(m, d)``, n and m at least 2."""
        check_pair(source, target)
        bandwidths = median_distance(source, target) * source.new_tensor(self.factors)
        return mmd(source, target, bandwidths)


def mmd(source: Tensor, target: Tensor, bandwidths: Sequence[float] | Tensor, *, unbiased: bool = True) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples, a scalar.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; n and m may differ.
        bandwidths: s of each kernel ``exp(-|a - b|² / (2 s²))``, above 0; the kernels are averaged.
        unbiased: Leave out each row's kernel with itself; the value may then be below 0. n and m at least 2.

    Raises:
        InputError: If the samples do not fit each other, or are too few.
    """
    check_pair(source, target)
    pooled = torch.cat([source, target])
    return mmd_of_kernel(gaussian_mean(pooled, bandwidths), len(source), unbiased=unbiased)


def mmd_of_kernel(kernel: Tensor, count: int, *, unbiased: bool = True) -> Tensor:
    """Return the squared MMD of a kernel matrix.

    Args:
        kernel: ``(n + m, n + m)`` of all rows, those of the source first.
        count: n.
        unbiased: As for `mmd`.
    """
    n, m = count, len(kernel) - count
    own, other, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    if not unbiased:
        return own.mean() + other.mean() - 2 * across.mean()
    within = (own.sum() - own.diagonal().sum()) / (n * (n - 1))
    without = (other.sum() - other.diagonal().sum()) / (m * (m - 1))
    return within + without - 2 * across.mean()


def gaussian_mean(rows: Tensor, bandwidths: Sequence[float] | Tensor) -> Tensor:
    """Return the mean of Gaussian kernels between all rows.

    Args:
        rows: ``(n, d)``.
        bandwidths: s of each kernel ``exp(-|a - b|² / (2 s²))``.

    Returns:
        ``(n, n)``.
    """
    squares = squared_distances(rows)
    widths = torch.as_tensor(bandwidths, dtype=rows.dtype, device=rows.device)
    return torch.stack([torch.exp(-squares / (2 * width.square())) for width in widths]).mean(0)


def squared_distances(rows: Tensor) -> Tensor:
    """Return the squared distances between all rows, ``(n, n)``, of ``(n, d)``; 0 between a row and itself."""
    # Products of centred rows lose fewer digits, and distances are the same.
    centred = rows - rows.detach().mean(0)
    lengths = centred.square().sum(1)
    squares = lengths[:, None] + lengths[None, :] - 2 * centred @ centred.T
    # Rounding may take them below 0.
    return squares.clamp(min=0) * (1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))


def median_distance(source: Tensor, target: Tensor) -> Tensor:
    """Return the median distance between different rows of two samples, a scalar without a gradient.

    Rows that are alike do not count; where all are, it is 1. It is the bandwidth of `acclimate.edge.transfer.kernels`.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
    """
    with torch.no_grad():
        rows = torch.cat([source, target])
        squares = squared_distances(rows)
        places = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
        # Below this a squared distance is what rounding left of two rows alike.
        epsilon = 1e-12 if rows.dtype == torch.float64 else 1e-6
        floor = epsilon * (rows - rows.mean(0)).square().sum(1).max()
        pairs = squares[places[0], places[1]]
        pairs = torch.where(pairs > floor, pairs, torch.inf).sort().values
        count = pairs.isfinite().sum()
        # Places are computed, not taken out: a number of pairs would make a GPU wait.
        middle = torch.stack([(count - 1).clamp(min=0) // 2, count // 2]).clamp(max=len(pairs) - 1)
        found = pairs[middle].mean()
        return torch.where(count > 0, found, torch.full_like(found, _ALIKE)).sqrt()


def check_pair(source: Tensor, target: Tensor) -> None:
    """Refuse samples that no discrepancy is defined for.

    Raises:
        InputError: If they are not ``(n, d)`` and ``(m, d)`` with two rows or more.
    """
    shapes = tuple(source.shape), tuple(target.shape)
    if source.dim() != 2 or target.dim() != 2 or source.shape[1] != target.shape[1]:
        raise InputError(
            f"expected features (n, d) of source and target, d alike, found {shapes[0]} and {shapes[1]}. Name layers "
            f"with one vector per sample as objective.layers."
        )
    if len(source) < 2 or len(target) < 2:
        raise InputError(
            f"expected two samples or more of source and target in a batch, found {len(source)} and {len(target)}. "
            f"Raise training.batch_size or objective.target_batch."
        )
