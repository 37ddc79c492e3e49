"""Accelerate: devices, processes and precision of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ...errors import InputError
from ...extras import require

if TYPE_CHECKING:
    from accelerate import Accelerator

DEVICES = ("auto", "cpu", "cuda")
_PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


@contextmanager
def engine(device: str, precision: str) -> Iterator["Accelerator"]:
    """Set up devices and processes for the block; under torchrun, join the other processes.

    Args:
        device: ``auto`` takes an accelerator if there is one; ``cpu``; ``cuda``.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        InputError: If this machine has no such device, or it has no such precision.
        MissingExtraError: If accelerate is not installed.
    """
    require("accelerate", extra="server", needed_by="acclimate.server.pretrain")
    if device not in DEVICES:
        raise InputError(f"expected a device out of {', '.join(DEVICES)}, found {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a CUDA device, found none that torch can use. Choose --device cpu or auto.")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    # Accelerate keeps device and precision of the first run of a process for all later ones.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=_PRECISIONS[precision])
    try:
        if precision == "float16" and accelerator.scaler is None:
            raise InputError(
                f"expected a GPU for training.precision float16, found the device {accelerator.device.type}. Choose "
                f"bfloat16 or float32."
            )
        yield accelerator
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        if not joined and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
