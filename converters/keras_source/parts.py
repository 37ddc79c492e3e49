"""Taps, cut and head of a Keras model, as TensorFlow's process tells them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import CutError
from ...manifest import MAX_WIDTH, Tap, Task
from ..padding import pad_weight
from .request import HEAD, Answer

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KerasParts:
    """Taps, cut and head of a Keras model (`finish.Parts`).

    Args:
        taps: What the latent consists of; the cut is the last.
        cut: Name of the cut.
        weight: ``(k, c) float32``, the head's weight on the cut.
        bias: ``(k,) float32``.
    """

    taps: tuple[Tap, ...]
    cut: str
    weight: Float32
    bias: Float32

    def padded_weight(self) -> Float32:
        """Return the head's weight on the whole latent, ``(k, d) float32``: zero for every tap but the cut."""
        return pad_weight(self.weight, self.taps)


def read_parts(answer: Answer, folder: Path, task: Task, *, keeps: bool) -> KerasParts:
    """Read taps and head from what TensorFlow's process has left.

    Args:
        answer: Its answer.
        folder: Where it lies.
        task: See `convert_keras`.
        keeps: Whether the model's own head is shipped.

    Raises:
        CutError: If the latent is too wide, or the head is none of the task.
    """
    taps, offset = [], 0
    for name, width in answer.taps:
        taps.append(Tap(name, offset, width))
        offset += width
    if offset > MAX_WIDTH:
        raise CutError(
            f"expected a latent of at most {MAX_WIDTH:,} dimensions, found {offset:,}: {list(answer.taps)}. "
            f"Convert with taps='last', or name fewer."
        )
    with np.load(folder / HEAD, allow_pickle=False) as head:
        weight, bias = head["weight"], head["bias"]
    if keeps and task == "regression" and answer.activation != "linear":
        raise CutError(
            f"expected a head for regression without an activation, found {answer.activation}. "
            f"Convert with head='fit' or head=None."
        )
    if task == "classification" and len(bias) == 1:
        # What tells one class from the other, as two outputs: softmax of (0, z) is sigmoid of z.
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    elif keeps and answer.activation == "sigmoid":
        raise CutError(
            f"expected one class per sample, found {len(bias)} outputs with a sigmoid each, any number of which may be "
            f"true. Convert with head='fit' or head=None."
        )
    return KerasParts(tuple(taps), taps[-1].name, weight, bias)
