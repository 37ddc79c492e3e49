"""The optimiser of all training: AdamW, without decay where it does harm."""

from collections.abc import Callable

import torch
from torch import nn


def make_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    factor_of: Callable[[str], float] = lambda name: 1.0,
) -> torch.optim.AdamW:
    """Return AdamW for the parameters of a model that train.

    Args:
        model: The model, on its device.
        learning_rate: Step size; a schedule sets it anew at each step.
        weight_decay: Decoupled decay of matrices and kernels; biases and normalisation have none.
        factor_of: Factor of the learning rate by a parameter's name.
    """
    trained = [(factor_of(name), p) for name, p in model.named_parameters() if p.requires_grad]
    groups = []
    for factor in sorted({1.0, *(found for found, _ in trained)}, reverse=True):
        own = [p for found, p in trained if found == factor]
        rate = {"rate_factor": factor, "lr": learning_rate * factor}
        groups += [
            {"params": [p for p in own if p.dim() > 1], "weight_decay": weight_decay, **rate},
            {"params": [p for p in own if p.dim() <= 1], "weight_decay": 0.0, **rate},
        ]
    return torch.optim.AdamW(groups, lr=learning_rate)
