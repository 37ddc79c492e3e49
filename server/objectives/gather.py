"""Tensors of all processes together, through which gradients flow back."""

from typing import Any

import torch
from torch import Tensor


def gathered(own: Tensor) -> Tensor:
    """Return the rows of all processes, in their order; of one process its own.

    The gradient that comes back is summed over the processes. As every process computes the same loss of all rows, and
    gradients are averaged afterwards, each process thus gets that of its rows, once.

    Args:
        own: ``(b, ...)``, the same shape in every process.

    Returns:
        ``(processes * b, ...)``.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    if torch.distributed.get_world_size() == 1:
        return own
    whole: Tensor = _Gathered.apply(own)
    return whole


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(summed)
        return summed.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]
