"""Parameters in parts: each process holds a share of every large tensor (FSDP, torch's `fully_shard`).

Accelerate's own plugin is not used: on a processor its version 1 trains with DDP without a word, and its version 2
aborts. What comes out here is looked at: a parameter that is not sharded is an error.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import TrainingError

# Blocks of a model that are large enough to be gathered and freed on their own; smaller ones go with the whole.
_BLOCK_PARAMETERS = 100_000


def shard(module: nn.Module, device: torch.device) -> None:
    """Shard a module in place over all processes.

    Args:
        module: On its device, the same in every process.
        device: That device.

    Raises:
        TrainingError: If a parameter stays whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Of weights that differ between processes each would keep its own part.
    for tensor in module.state_dict().values():
        torch.distributed.broadcast(tensor, 0)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    # The inner ones first: what is sharded already is not part of the outer ones.
    for container in reversed(list(module.modules())):
        if isinstance(container, nn.Sequential | nn.ModuleList):
            for block in container:
                if sum(p.numel() for p in block.parameters()) >= _BLOCK_PARAMETERS and _calls(block):
                    fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    check_sharded(module)


def check_sharded(module: nn.Module) -> float:
    """Return the share of the parameters that this process holds.

    Raises:
        TrainingError: If one is not sharded.
    """
    from torch.distributed.tensor import DTensor, Shard

    for name, parameter in module.named_parameters():
        if not (isinstance(parameter, DTensor) and all(isinstance(p, Shard) for p in parameter.placements)):
            raise TrainingError(
                f"expected every parameter sharded over the processes, found {name!r} whole. Train with "
                f'run.sharding = "none".'
            )
    held = sum(local(parameter).numel() for parameter in module.parameters())
    return held / sum(parameter.numel() for parameter in module.parameters())


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds; a whole tensor is its own part."""
    if not is_sharded(tensor):
        return tensor
    part: Tensor = cast(Any, tensor).to_local()
    return part


def full(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor, on the processor; every process has to ask at the same time."""
    whole: Any = tensor.detach()
    found: Tensor = (whole.full_tensor() if is_sharded(whole) else whole).cpu()
    return found


def sharded_like(whole: Tensor, pattern: Any) -> Tensor:
    """Return a tensor on the device of another one, sharded as that one is."""
    if not is_sharded(pattern):
        return whole.to(pattern.device)
    from torch.distributed.tensor import distribute_tensor

    # Every process has the whole, and takes its own part of it.
    return distribute_tensor(whole.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is a distributed one."""
    # A plain run never loads the distributed half of torch.
    return type(tensor) not in _PLAIN and hasattr(tensor, "to_local")


_PLAIN = (Tensor, nn.Parameter)


def _calls(block: nn.Module) -> bool:
    return type(block).forward is not nn.Module.forward
