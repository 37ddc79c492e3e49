"""SimCLR: two views of a sample are to be nearer to each other than to those of any other sample."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gather import gathered
from .projector import Projected


class SimCLR(nn.Module):
    """The contrastive loss of a model with a projector.

    Args:
        projected: The model with its projector.
        temperature: See `nt_xent`.
    """

    projects = False

    def __init__(self, projected: Projected, temperature: float = 0.5) -> None:
        super().__init__()
        self.projected, self.temperature = projected, temperature

    def forward(self, x: Tensor, y: object = None) -> Tensor:
        """Return the loss ``(1,)`` of samples ``(b, 2, ...)``, two views each; labels are not looked at."""
        z = self.projected(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        z = gathered(z)
        return torch.stack([nt_xent(z[:, 0], z[:, 1], self.temperature)])


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of pairs.

    Args:
        first: ``(b, d)``, one view of each sample; of any length, only directions count.
        second: ``(b, d)``, the other.
        temperature: What cosines are divided by, above 0.

    Returns:
        The mean over the 2 b views, a scalar.

    References:
        Chen et al. 2020, "A simple framework for contrastive learning of visual representations", equation 1.
    """
    count = len(first)
    z = functional.normalize(torch.cat([first, second]), dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * count, device=z.device).roll(count)
    return functional.cross_entropy(similarity, partner)
