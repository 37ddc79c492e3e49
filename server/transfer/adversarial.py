"""Adversarial alignment: a classifier tells domains apart, and the features learn to keep it from that."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def reversed_gradient(x: Tensor, weight: Tensor | float) -> Tensor:
    """Return x as it is; on the way back, its gradient is multiplied by minus the weight.

    Args:
        x: Anything.
        weight: lambda, 0 or more.

    References:
        Ganin et al. 2016, "Domain-adversarial training of neural networks" (DANN), section 4.2.
    """
    found: Tensor = _Reversed.apply(x, weight)
    return found


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def ramp(progress: Tensor) -> Tensor:
    """Return ``2 / (1 + exp(-10 p)) - 1``: 0 at the beginning of training, nearly 1 from its middle on.

    Args:
        progress: p, from 0 to 1.

    References:
        Ganin et al. 2016, section 5.2.
    """
    return torch.tanh(5 * progress)


class DomainClassifier(nn.Module):
    """Tells each source domain from the target by features.

    Args:
        width: d of the features.
        hidden: Units of its hidden layer.
        sources: Source domains.
        seed: Fixes its first weights.
    """

    def __init__(self, width: int, hidden: int, sources: int = 1, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, sources))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(n, sources)`` of features ``(n, d)``: above 0 for that source, below for the target."""
        found: Tensor = self.layers(features)
        return found


def domain_loss(logits: Tensor, domains: Tensor) -> Tensor:
    """Return the cross-entropy of telling each source from the target, a scalar; ln 2 where nothing can be told.

    Source and target have half of it each, however many samples they have in the batch; sources have the same share.

    Args:
        logits: ``(n, sources)`` of a `DomainClassifier`.
        domains: ``(n,) int64``: 0 for the target, 1 and up for sources. Those not in the batch have no part.
    """
    losses: list[Tensor] = []
    target = domains == 0
    for source in range(logits.shape[1]):
        own = domains == source + 1
        # Sums over masks, as a number of samples taken out would make a GPU wait.
        ours = _mean(functional.softplus(-logits[:, source]), own)
        theirs = _mean(functional.softplus(logits[:, source]), target)
        losses.append(torch.where(own.any() & target.any(), (ours + theirs) / 2, torch.zeros_like(ours)))
    present = torch.stack([(domains == source + 1).any() for source in range(logits.shape[1])]).sum().clamp(min=1)
    return torch.stack(losses).sum() / present


def proxy_a_distance(error: float) -> float:
    """Return how far apart two domains are by the error of the best classifier between them: 2 (1 - 2 error).

    Args:
        error: Share of samples of held-out halves that it takes for the other domain's, 0 to 1; above 1/2 counts as
            1/2.

    Returns:
        0 where nothing tells them apart, 2 where everything does.

    References:
        Ben-David et al. 2007, "Analysis of representations for domain adaptation".
    """
    return 2 * (1 - 2 * min(error, 0.5))


def gaussian_a_distance(shift: float) -> float:
    """Return the proxy-A distance of ``N(0, I)`` and ``N(m, I)``: the best classifier errs by ``Phi(-|m| / 2)``.

    Args:
        shift: ``|m|``.
    """
    return proxy_a_distance(0.5 * math.erfc(shift / 2 / math.sqrt(2)))


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
