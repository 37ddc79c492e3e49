"""Pooling on maps with the channel axis first: averages as matrix products, maxima over collected windows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .convolution import Pair, Window, Windows, on_positions
from .layout import Constants
from .spatial import Float64

# Positions of input and output for which one matrix is worth it in place of one for each axis.
_JOINT = 65_536


def average(x: Tensor, rows: Float64, columns: Float64, key: tuple[object, ...], constants: Constants) -> Tensor:
    """Average along both axes.

    Args:
        x: ``(c, h, w, n) float32``.
        rows: ``(h, oh)``, the weights along the height.
        columns: ``(w, ow)``, the weights along the width.
        key: What tells these weights from others.
        constants: Where constant matrices are kept.

    Returns:
        ``(c, oh, ow, n) float32``.
    """
    (h, oh), (w, ow) = rows.shape, columns.shape
    c = x.shape[0]
    if h * w * oh * ow <= _JOINT:
        joint = np.einsum("hp,wq->pqhw", rows, columns).reshape(oh * ow, h * w)
        matrix = constants.get(("average", *key), joint)
        return on_positions(matrix, x.reshape(c, h * w, -1)).reshape(c, oh, ow, -1)
    across = on_positions(constants.get(("rows", *key), rows.T), x.reshape(c, h, -1)).reshape(c * oh, w, -1)
    return on_positions(constants.get(("columns", *key), columns.T), across).reshape(c, oh, ow, -1)


def maximum(x: Tensor, window: Window, outputs: Pair) -> Tensor:
    """Take the maximum of each window; its gradient goes to the first of several equal ones, as in PyTorch.

    Args:
        x: ``(c, h, w, n) float32``.
        window: How the windows lie; the padding is never the maximum.
        outputs: Height and width of the result, which the ceiling may make greater than the window's own.

    Returns:
        ``(c, oh, ow, n) float32``.
    """
    (top, left), (h, w) = window.padding, window.size
    reach = [
        window.stride[i] * (outputs[i] - 1) + window.dilation[i] * (window.kernel[i] - 1) + 1 - window.padding[i]
        for i in (0, 1)
    ]
    below, right = max(reach[0] - h, 0), max(reach[1] - w, 0)
    if top or left or below or right:
        x = functional.pad(x, (0, 0, left, right, top, below), value=-torch.finfo(torch.float32).max)
        size = (h + top + below, w + left + right)
        window = Window(window.kernel, window.stride, (0, 0), window.dilation, size)
    greatest: Tensor = First.apply(Windows.apply(x, window))
    return greatest


class First(torch.autograd.Function):
    """The greatest entry along axis 1."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Take the greatest."""
        return x.amax(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep the entries."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Give the gradient to the first of the greatest."""
        (x,) = ctx.saved_tensors
        first = x.argmax(1, keepdim=True)
        taps = torch.arange(x.shape[1], device=x.device).reshape(-1, 1, 1, 1)
        return torch.where(first == taps, gradient.unsqueeze(1), 0.0)
