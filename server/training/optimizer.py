"""The optimiser of all training: AdamW, without decay where it does harm."""

import torch
from torch import nn


def make_optimizer(model: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW for the parameters of a model that train.

    Args:
        model: The model, on its device.
        learning_rate: Step size; a schedule sets it anew at each step.
        weight_decay: Decoupled decay of matrices and kernels; biases and normalisation have none.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)
