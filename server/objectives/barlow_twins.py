"""Barlow Twins: the projections of two views correlate fully dimension by dimension, and not at all across them."""

import torch
from torch import Tensor, nn

from .gather import gathered
from .projector import Projected

_EPSILON = 1e-12


class BarlowTwins(nn.Module):
    """The redundancy-reduction loss of a model with a projector.

    Args:
        projected: The model with its projector.
        redundancy: See `barlow_loss`.
    """

    projects = False

    def __init__(self, projected: Projected, redundancy: float = 0.005) -> None:
        super().__init__()
        self.projected, self.redundancy = projected, redundancy

    def forward(self, x: Tensor, y: object = None) -> Tensor:
        """Return the loss ``(1,)`` of samples ``(b, 2, ...)``, two views each; labels are not looked at."""
        z = self.projected(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        z = gathered(z)
        return torch.stack([barlow_loss(z[:, 0], z[:, 1], self.redundancy)])


def barlow_loss(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Return the distance of the cross-correlation of two views from the identity.

    Args:
        first: ``(b, d)``, one view of each sample.
        second: ``(b, d)``, the other.
        redundancy: Weight of the entries off the diagonal.

    Returns:
        ``Σᵢ (1 - Cᵢᵢ)² + redundancy · Σᵢ≠ⱼ Cᵢⱼ²``, a scalar.

    References:
        Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction", equation 1.
    """
    correlation = _standardised(first).T @ _standardised(second) / len(first)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    # A dimension that is the same for all samples correlates with nothing.
    return centred / torch.sqrt(centred.square().mean(0) + _EPSILON)
