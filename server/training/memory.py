"""When memory runs out: how large a part of the batch would fit."""

from typing import TYPE_CHECKING

import torch

from .batches import Batch
from .settings import TrainingSettings
from .sharding import is_sharded

if TYPE_CHECKING:
    from .steps import Trainee


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left, on a device or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def what_fits(trainee: "Trainee", part: Batch, settings: TrainingSettings) -> str:
    """Return a message that says how to go on after memory ran out; tries halves of a part until one fits.

    Args:
        trainee: What is trained.
        part: Samples that did not fit.
        settings: The settings they came from.
    """
    size = len(part[0])
    fits = _largest(trainee, part)
    found = (
        f"expected enough memory for {size} samples at once on {trainee.engine.device}, found too little. Nothing was "
        f"written since the last checkpoint."
    )
    if fits is None:
        return f"{found} Not even one sample fits: choose smaller inputs or a smaller model."
    parts = settings.accumulation * -(-size // fits)
    return (
        f"{found} {fits} fit: set training.accumulation = {parts}, which gives the same steps, or training.batch_size "
        f"= {max(1, settings.batch_size * fits // size)}."
    )


def _largest(trainee: "Trainee", part: Batch) -> int | None:
    x, y, _ = part
    size = len(x) // 2
    if any(is_sharded(p) for p in trainee.module.parameters()):
        # A trial needs every process, and another may have had memory enough.
        return size or None
    device = trainee.engine.device
    while size:
        trainee.module.zero_grad()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            labels = tuple(t[:size].to(device) for t in y) if isinstance(y, tuple) else y[:size].to(device)
            trainee.module(x[:size].to(device), labels).sum().backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size //= 2
        else:
            return size
    return None
