"""A Keras model as torch sees it: takes tensors, and TensorFlow's process answers."""

import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .process import KerasProcess

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class KerasLogits(nn.Module):
    """A Keras model that is asked for logits; it has no parameters here, and no gradients.

    Args:
        answer: Takes samples ``(b, ..., c) float32``, returns logits ``(b, k)``.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(b, k)`` of samples ``(b, c, ...)``."""
        return torch.from_numpy(self.answer(channels_last(x)))


class OneTask(nn.Module):
    """Logits as `evaluate` takes them: one tensor per task.

    Args:
        logits: Those of the one task.
    """

    def __init__(self, logits: KerasLogits) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return logits ``(b, k)`` of samples ``(b, c, ...)``, as a tuple of one."""
        return (self.logits(x),)


class KerasFile:
    """Answers of the model in a Keras file; TensorFlow's process starts with the first question, and is then kept.

    Args:
        file: As a run left it.
        device: As for `KerasProcess`.
    """

    def __init__(self, file: Path, device: str) -> None:
        self._file, self._device = file, device
        self._process: KerasProcess | None = None

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits ``(b, k)`` of samples ``(b, ..., c)``."""
        if self._process is None:
            process = KerasProcess(device=self._device, threads=torch.get_num_threads())
            weakref.finalize(self, process.close)
            process.ask("open", file=str(self._file.absolute()))
            self._process = process
        return ask_logits(self._process, x)


def ask_logits(process: KerasProcess, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits ``(b, k)`` of the model that a process holds."""
    return process.ask("predict", {"x": x}).arrays["logits"]


def channels_last(x: Tensor) -> NDArray[np.float32]:
    """Return a batch ``(b, c, ...)`` as Keras lays it out: ``(b, ..., c)``; rows stay rows."""
    found: NDArray[np.float32] = np.ascontiguousarray(x.movedim(1, -1).cpu().numpy(), np.float32)
    return found
