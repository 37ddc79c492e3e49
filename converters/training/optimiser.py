"""One update of one tensor, as PyTorch's optimisers compute it."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Optimiser = Literal["sgd", "adam"]
EPSILON = 1e-8
# State tensors of each optimiser, all zero at the start, and the scalars that it takes.
STATE: dict[Optimiser, tuple[str, ...]] = {"sgd": ("momentum",), "adam": ("mean", "square")}
SCALARS: dict[Optimiser, tuple[str, ...]] = {
    "sgd": ("learning_rate", "momentum"),
    "adam": ("learning_rate", "beta1", "beta2", "step", "weight_decay"),
}


def update(
    optimiser: Optimiser,
    parameter: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    scalars: Mapping[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Update one tensor.

    ``sgd`` is gradient descent with momentum (Sutskever et al., 2013); ``adam`` is AdamW (Loshchilov and Hutter, 2019,
    "Decoupled Weight Decay Regularization"), which without weight decay is Adam (Kingma and Ba, 2015).

    Args:
        optimiser: Which.
        parameter: The tensor.
        gradient: Its gradient.
        state: Its state tensors by name, each of its shape.
        scalars: The scalars by name; `step` counts from 1.

    Returns:
        The tensor and its state after the step.
    """
    rate = scalars["learning_rate"]
    if optimiser == "sgd":
        velocity = state["momentum"] * scalars["momentum"] + gradient
        return parameter - velocity * rate, {"momentum": velocity}
    beta1, beta2, step = scalars["beta1"], scalars["beta2"], scalars["step"]
    mean = state["mean"] * beta1 + gradient * (1 - beta1)
    square = state["square"] * beta2 + gradient * gradient * (1 - beta2)
    root = torch.sqrt(square) / torch.sqrt(1 - torch.pow(beta2, step)) + EPSILON
    moved = mean / root * (rate / (1 - torch.pow(beta1, step)))
    return parameter * (1 - rate * scalars["weight_decay"]) - moved, {"mean": mean, "square": square}
