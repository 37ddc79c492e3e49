"""Convolutions on maps ``(c, h, w, n)``, written so that they and their gradients are matrix products.

PyTorch differentiates them: the gradient of a matrix product is two matrix products, which is what inference runtimes
do best. Only the collection of windows has a gradient of its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .layout import Constants
from .spatial import POINTS, tiles, windows, windows_2d, winograd_input, winograd_kernel, winograd_output

# Positions of input and output for which a depthwise kernel is worth a whole matrix per channel.
_BANDED = 4_096
# Positions of a map that Winograd's transforms are worth: beyond it they cost as much as they save.
_WINOGRAD = 100
_LIKELY_BATCH = 32
Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over a map.

    Args:
        kernel: Its height and width.
        stride: Steps between windows.
        padding: Zeros at each border.
        dilation: Distance between taps.
        size: Height and width of the map.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair

    @property
    def outputs(self) -> Pair:
        """Height and width of the result."""
        h, w = (
            (self.size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        return h, w

    @property
    def is_pointwise(self) -> bool:
        """Whether it sees one position and takes every one."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, constants: Constants
) -> Tensor:
    """Convolve.

    Args:
        x: ``(c, h, w, n) float32``.
        weight: ``(o, c / groups, kh, kw) float32``.
        bias: ``(o,) float32``, or None.
        window: How the kernel moves.
        groups: Groups of channels.
        constants: Where constant matrices are kept.

    Returns:
        ``(o, oh, ow, n) float32``.
    """
    c, o = x.shape[0], weight.shape[0]
    if groups == c and c > 1:
        y = _depthwise(x, weight, window, constants)
        return y if bias is None else y + bias.reshape(-1, 1, 1, 1)
    if groups == 1 and _worth_winograd(c, o, window):
        y = _winograd(x, weight, window, constants)
        return y if bias is None else y + bias.reshape(-1, 1, 1, 1)
    columns = _columns(x, window)
    if groups == 1:
        flat, kernel = columns.reshape(columns.shape[0] * columns.shape[1], -1), weight.reshape(o, -1)
        y = kernel @ flat if bias is None else torch.addmm(bias.reshape(-1, 1), kernel, flat)
        return y.reshape(o, *window.outputs, -1)
    flat = columns.reshape(groups, c // groups * columns.shape[1], -1)
    y = torch.bmm(weight.reshape(groups, o // groups, -1), flat).reshape(o, *window.outputs, -1)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def _columns(x: Tensor, window: Window) -> Tensor:
    """Return the windows of a map, ``(c, taps, oh, ow, n)``."""
    if window.kernel == (1, 1) and window.padding == (0, 0):
        if window.stride != (1, 1):
            x = Strided.apply(x, window)
        return x.unsqueeze(1)
    columns: Tensor = Windows.apply(x, window)
    return columns


def _depthwise(x: Tensor, weight: Tensor, window: Window, constants: Constants) -> Tensor:
    """Apply a kernel per channel as one matrix per channel: the taps, put where the window's positions are."""
    c, o = x.shape[0], weight.shape[0]
    (h, w), (oh, ow) = window.size, window.outputs
    if o != c:
        x = x.unsqueeze(1).expand(-1, o // c, -1, -1, -1).reshape(o, h, w, -1)
    rows, columns = (
        windows(
            window.size[i], window.outputs[i], window.kernel[i], window.stride[i], window.padding[i], window.dilation[i]
        )
        for i in (0, 1)
    )
    if h * w * oh * ow <= _BANDED:
        bands = constants.get(("bands", window), windows_2d(rows, columns))
        matrix = (weight.reshape(o, -1) @ bands).reshape(o, oh * ow, h * w)
        return torch.bmm(matrix, x.reshape(o, h * w, -1)).reshape(o, oh, ow, -1)
    # On a larger map, rows are collected and only the columns are a matrix.
    kh, kw = window.kernel
    band = constants.get(("band", window), columns.transpose(0, 2, 1).reshape(kw, ow * w))
    matrix = (weight.reshape(o * kh, kw) @ band).reshape(o, kh, ow, w).transpose(1, 2).reshape(o, ow, kh * w)
    row = Window((kh, 1), (window.stride[0], 1), (window.padding[0], 0), (window.dilation[0], 1), window.size)
    collected = Windows.apply(x, row).transpose(2, 3).reshape(o, kh * w, -1)
    return torch.bmm(matrix, collected).reshape(o, ow, oh, -1).transpose(1, 2)


def _worth_winograd(c: int, o: int, window: Window) -> bool:
    plain = window.kernel == (3, 3) and window.stride == window.dilation == (1, 1) and max(window.padding) <= 2
    oh, ow = window.outputs
    if not plain or window.size[0] * window.size[1] > _WINOGRAD or oh * ow > _WINOGRAD:
        return False
    n, grid = _LIKELY_BATCH, POINTS * POINTS * tiles(oh) * tiles(ow)
    direct = c * o * 9 * oh * ow * n
    transforms = n * grid * (c * window.size[0] * window.size[1] + o * oh * ow) + 9 * POINTS * POINTS * c * o
    # Batched products and transposed copies run at about two thirds of the speed of one large product.
    return 1.5 * (c * o * grid * n + transforms) < direct


def _winograd(x: Tensor, weight: Tensor, window: Window, constants: Constants) -> Tensor:
    """Convolve by Winograd's minimal filtering: a third of the multiplications, all of them in matrix products."""
    c, o = x.shape[0], weight.shape[0]
    (h, w), (oh, ow) = window.size, window.outputs
    points, grid = POINTS * POINTS, tiles(oh) * tiles(ow)
    into = np.einsum(
        "hps,wqt->pqsthw", winograd_input(h, oh, window.padding[0]), winograd_input(w, ow, window.padding[1])
    )
    back = np.einsum("psi,qtj->ijpqst", winograd_output(oh), winograd_output(ow))
    forth = constants.get(("winograd input", window), into.reshape(points * grid, h * w))
    undo = constants.get(("winograd output", oh, ow), back.reshape(oh * ow, points * grid))
    spread = constants.get("winograd kernel", winograd_kernel())
    v = on_positions(forth, x.reshape(c, h * w, -1)).reshape(c, points, -1).transpose(0, 1)
    u = (spread @ weight.reshape(-1, 9).t().contiguous()).reshape(points, o, c)
    m = torch.bmm(u, v).transpose(0, 1).reshape(o, points * grid, -1)
    return on_positions(undo, m).reshape(o, oh, ow, -1)


def on_positions(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply a matrix ``(outputs, inputs)`` to the positions of every channel: ``(c, inputs, n)``."""
    return torch.bmm(matrix.expand(x.shape[0], -1, -1), x)


class Windows(torch.autograd.Function):
    """Collect the windows of a map: ``(c, h, w, n)`` to ``(c, taps, oh, ow, n)``."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> Tensor:
        """Stack one shifted copy of the map per tap."""
        ph, pw = window.padding
        padded = functional.pad(x, (0, 0, pw, pw, ph, ph)) if ph or pw else x
        return torch.stack([padded[:, rows, columns] for rows, columns in _taps(window)], 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        """Keep how the windows lie."""
        ctx.window = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Add every tap's gradient where it came from."""
        window: Window = ctx.window
        parts = [
            _put_back(gradient[:, tap], window, rows, columns) for tap, (rows, columns) in enumerate(_taps(window))
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total, None


class Strided(torch.autograd.Function):
    """Take every so many rows and columns of a map, as a 1 x 1 convolution with a stride does."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> Tensor:
        """Slice."""
        ((rows, columns),) = _taps(window)
        return x[:, rows, columns]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        """Keep how the windows lie."""
        ctx.window = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Put zeros in between."""
        ((rows, columns),) = _taps(ctx.window)
        return _put_back(gradient, ctx.window, rows, columns), None


def _taps(window: Window) -> list[tuple[slice, slice]]:
    """Return which rows and columns of the padded map each tap sees."""
    (kh, kw), (sh, sw), (dh, dw), (oh, ow) = window.kernel, window.stride, window.dilation, window.outputs
    return [
        (slice(i * dh, i * dh + sh * (oh - 1) + 1, sh), slice(j * dw, j * dw + sw * (ow - 1) + 1, sw))
        for i in range(kh)
        for j in range(kw)
    ]


def _put_back(part: Tensor, window: Window, rows: slice, columns: slice) -> Tensor:
    """Return a map that is zero but for what one tap saw, without the padding."""
    (sh, sw), (oh, ow), (h, w) = window.stride, window.outputs, window.size
    c = part.shape[0]
    if sh > 1 or sw > 1:
        spread = functional.pad(part.reshape(c, oh, 1, ow, 1, -1), (0, 0, 0, sw - 1, 0, 0, 0, sh - 1))
        part = spread.reshape(c, oh * sh, ow * sw, -1)[:, : sh * (oh - 1) + 1, : sw * (ow - 1) + 1]
    top, left = rows.start - window.padding[0], columns.start - window.padding[1]
    height, width = part.shape[1:3]
    # Cut what lies in the padding, fill up the rest.
    part = part[:, max(-top, 0) : h - top, max(-left, 0) : w - left]
    gaps = (0, 0, max(left, 0), max(w - left - width, 0), max(top, 0), max(h - top - height, 0))
    return functional.pad(part, gaps) if any(gaps) else part
