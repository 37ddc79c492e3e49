"""L2-SP: weights are drawn towards those that they started from, and those of new layers towards 0."""

from collections.abc import Collection

import torch
from torch import nn

from .penalty import Anchored, Pull, check_new, check_weight


def l2_sp(model: nn.Module, *, new: Collection[str] = (), alpha: float = 0.1, beta: float = 0.01) -> Anchored:
    """Return ``alpha/2 |θ - θ_source|²`` over what comes from the source plus ``beta/2 |θ|²`` over what is new.

    Frozen parameters are left out. Of new layers, matrices and kernels are drawn; biases and normalisation are not, as
    with decay.

    Args:
        model: With the weights it starts from; they are copied.
        new: Names of the parameters that are new.
        alpha: Weight of what comes from the source.
        beta: Weight of what is new.

    Raises:
        InputError: If a weight is NaN, infinite or below 0, or the model has no such parameter.

    References:
        Li, Grandvalet and Davoine 2018, "Explicit inductive bias for transfer learning with convolutional networks".
    """
    check_new(model, new)
    check_weight(alpha, "alpha")
    check_weight(beta, "beta")
    pulls: dict[str, Pull] = {}
    for name, parameter in model.named_parameters():
        start = parameter.detach()
        if not parameter.requires_grad or (name in new and parameter.dim() < 2):
            continue
        anchor, weight = (torch.zeros_like(start), beta) if name in new else (start.clone(), alpha)
        pulls[name] = Pull(anchor, torch.tensor(weight, dtype=start.dtype, device=start.device))
    return Anchored("l2-sp", pulls)
