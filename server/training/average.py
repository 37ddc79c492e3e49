"""An exponential moving average of a module's state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .sharding import local


class Average:
    """The moving average of weights and of running statistics; whole numbers are copied.

    The decay of step t is ``min(decay, (1 + t) / (10 + t))``, so that the first weights are soon forgotten.

    Args:
        module: The module that trains, on its device, sharded or whole.
        decay: Share of the average that a step keeps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's state after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = module.state_dict()
        kept: list[Tensor] = []
        new: list[Tensor] = []
        for name, tensor in self.state.items():
            if tensor.is_floating_point():
                kept.append(local(tensor))
                new.append(local(now[name].detach()))
            else:
                local(tensor).copy_(local(now[name]))
        torch._foreach_lerp_(kept, new, 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Let the module have the average for the block, then its own weights again."""
        own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        copy_state(module, self.state)
        try:
            yield
        finally:
            copy_state(module, own)


@torch.no_grad()
def copy_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy tensors of the same names, kinds and sharding into a module."""
    for name, tensor in module.state_dict().items():
        local(tensor.detach()).copy_(local(state[name]))
