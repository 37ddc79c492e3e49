"""PCGrad: where the gradients of two tasks conflict, each gives up its part against the other."""

import torch
from torch import Tensor


def project_conflicts(gradients: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the sum of task gradients of which none opposes another.

    Args:
        gradients: ``(tasks, n)``, one flat gradient per task.
        generator: Draws the order in which each meets the others; the order given where None.

    Returns:
        ``(n,)``.

    References:
        Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1.
    """
    tasks = len(gradients)
    projected = gradients.clone()
    squares = gradients.square().sum(1)
    for task in range(tasks):
        order = torch.randperm(tasks, generator=generator).tolist() if generator else range(tasks)
        for other in order:
            if other == task:
                continue
            along = projected[task] @ gradients[other]
            if along < 0:
                projected[task] -= along / squares[other] * gradients[other]
    return projected.sum(0)
