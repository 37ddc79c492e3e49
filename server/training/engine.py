"""Accelerate: devices, processes and precision of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from ... import errors
from ...errors import AcclimateError, InputError
from ...extras import require

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")
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
    # Without an accelerator, and not told so, it would take each process of torchrun for the only one.
    cpu = device == "cpu" or (device == "auto" and not torch.accelerator.is_available())
    accelerator = Accelerator(cpu=cpu, mixed_precision=_PRECISIONS[precision])
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


def main_first(running: "Accelerator", step: Callable[[], T]) -> T | None:
    """Take a step in the main process alone; where that refuses it, all processes refuse alike.

    Otherwise the others would wait for a process that is gone, and tell of a lost connection.

    Args:
        running: The processes; all of them call this.
        step: What the main process does.

    Returns:
        What it gave, in the main process; None in the others.

    Raises:
        AcclimateError: Whatever the step raised of them, in all processes.
    """
    given: T | None = None
    refusal: AcclimateError | None = None
    if running.is_main_process:
        try:
            given = step()
        except AcclimateError as error:
            refusal = error
    kind, _, message = share_text(running, f"{type(refusal).__name__}\n{refusal}" if refusal else "").partition("\n")
    if refusal is not None:
        raise refusal
    if kind:
        raise getattr(errors, kind)(message)
    return given


def share_text(running: "Accelerator", text: str) -> str:
    """Return in all processes the text that the main process gave.

    Args:
        running: The processes; all of them call this.
        text: Used of the main process alone.
    """
    if running.num_processes == 1:
        return text
    from accelerate.utils import broadcast

    content = text.encode(errors="surrogateescape") if running.is_main_process else b""
    length = int(broadcast(torch.tensor([len(content)], device=running.device)))
    if not length:
        return ""
    # Tensors, as objects would be sent as pickles.
    numbers = list(content) if running.is_main_process else [0] * length
    shared = broadcast(torch.tensor(numbers, dtype=torch.uint8, device=running.device))
    return bytes(shared.tolist()).decode(errors="surrogateescape")
