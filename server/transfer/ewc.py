"""Elastic weight consolidation: weights that matter to the source are held where they were."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from .penalty import Anchored, Pull


def ewc(model: nn.Module, fisher: Mapping[str, Tensor], *, weight: float = 1.0, new: Collection[str] = ()) -> Anchored:
    """Return ``weight/2 Σ F (θ - θ_source)²`` over what comes from the source.

    New parameters have no information and are not held: EWC does nothing for classes that are added. There, statistics
    of the source, prototypes or replay help. Frozen parameters are left out.

    Args:
        model: With the weights it starts from; they are copied.
        fisher: Diagonal of the information on the source, by parameter name; see `fisher_diagonal`. Rows that a
            parameter has beyond it are those of added classes.
        weight: The source's samples over the target's, if the loss is a mean: then this is Laplace's approximation of
            the loss on both.
        new: Names of the parameters that are new.

    References:
        Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
    """
    pulls: dict[str, Pull] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or name in new or name not in fisher:
            continue
        start = parameter.detach()
        known = fisher[name].to(start)
        held = torch.zeros_like(start)
        if known.shape == start.shape:
            held.copy_(known)
        elif known.shape[1:] == start.shape[1:] and len(known) < len(start):
            held[: len(known)] = known
        else:
            # Channels of the first layer, fitted to the data: the source says nothing of these weights.
            continue
        pulls[name] = Pull(start.clone(), weight * held)
    return Anchored("ewc", pulls)


def without_information(model: nn.Module, fisher: Mapping[str, Tensor], new: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of parameters that train and that EWC leaves alone, in part at least: of added classes, say."""
    return tuple(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (name in new or name not in fisher or fisher[name].shape != parameter.shape)
    )
