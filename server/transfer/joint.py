"""Joint maximum mean discrepancy: two batches differ in several layers together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from .discrepancy import FACTORS, check_pair, gaussian_mean, median_distance, mmd_of_kernel


@dataclass(frozen=True)
class JointMMD:
    """Squared MMD of the joint distribution of several layers, unbiased.

    Args:
        factors: Bandwidths of each layer's kernels, as multiples of the median distance in that layer.

    References:
        Long et al. 2017, "Deep transfer learning with joint adaptation networks" (JAN), equation 9.
    """

    factors: tuple[float, ...] = FACTORS
    name: str = "jmmd"

    def __call__(self, source: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """Return the discrepancy of layers ``(n, d_l)`` and ``(m, d_l)``, n and m at least 2."""
        if len(source) != len(target):
            raise InputError(f"expected the same layers of source and target, found {len(source)} and {len(target)}.")
        for own, other in zip(source, target, strict=True):
            check_pair(own, other)
        widths = [median_distance(a, b) * a.new_tensor(self.factors) for a, b in zip(source, target, strict=True)]
        return joint_mmd(source, target, widths)


def joint_mmd(
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    bandwidths: Sequence[Sequence[float] | Tensor],
    *,
    unbiased: bool = True,
) -> Tensor:
    """Return the squared joint maximum mean discrepancy, a scalar: the MMD under the product of the layers' kernels.

    Args:
        source: ``(n, d_l)`` of each layer.
        target: ``(m, d_l)`` of each; n and m may differ.
        bandwidths: Of each layer, s of its kernels ``exp(-|a - b|² / (2 s²))``, which are averaged.
        unbiased: Leave out each row's kernel with itself. n and m at least 2.

    Raises:
        InputError: If there is no layer, or samples do not fit each other.
    """
    if not source or len({len(layer) for layer in source}) > 1 or len({len(layer) for layer in target}) > 1:
        raise InputError(
            f"expected one layer or more, each of the same samples, found {[tuple(layer.shape) for layer in source]} "
            f"and {[tuple(layer.shape) for layer in target]}."
        )
    kernel: Tensor | None = None
    for own, other, widths in zip(source, target, bandwidths, strict=True):
        check_pair(own, other)
        layer = gaussian_mean(torch.cat([own, other]), widths)
        kernel = layer if kernel is None else kernel * layer
    assert kernel is not None  # noqa: S101 - there is a layer
    return mmd_of_kernel(kernel, len(source[0]), unbiased=unbiased)
