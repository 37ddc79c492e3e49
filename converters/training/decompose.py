"""Operations of PyTorch's gradients in terms of simpler ones, where its own decompositions are no use to a runtime."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.nn import functional

_aten = torch.ops.aten
_ENDLESS = 2**62
# What is kept whole, since runtimes have it whole or the writer has a better form.
_WHOLE = frozenset(
    [
        "native_layer_norm",
        "_softmax",
        "_log_softmax",
        "addmm",
        "relu",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "sigmoid",
        "tanh",
        "gelu",
        "threshold_backward",
        "hardtanh_backward",
        "constant_pad_nd",
    ]
)
_MORE = [
    "native_layer_norm_backward",
    "gelu_backward",
    "hardswish_backward",
    "hardsigmoid_backward",
    "_softmax_backward_data",
    "_log_softmax_backward_data",
    "sigmoid_backward",
    "tanh_backward",
    "elu_backward",
    "leaky_relu_backward",
    "softplus_backward",
    "elu",
    "leaky_relu",
    "softplus",
]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return how operations are taken apart while a tail is differentiated."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table |= get_decompositions([getattr(_aten, name) for name in _MORE])
    for operation in list(table):
        if str(operation).removeprefix("aten.").partition(".")[0] in _WHOLE:
            del table[operation]
    table[_aten.slice_backward.default] = _slice_backward
    table[_aten.select_backward.default] = _select_backward
    return table


def _slice_backward(gradient: Tensor, sizes: Sequence[int], axis: int, start: int, end: int, step: int) -> Tensor:
    """Put a slice's gradient among zeros, by padding."""
    if start == 0 and end >= _ENDLESS and step == 1:
        return gradient.clone()
    size, count = sizes[axis], gradient.shape[axis]
    start = max(start + size, 0) if start < 0 else start
    if step > 1:
        shape = [*gradient.shape]
        spread = _pad(gradient.unsqueeze(axis + 1), axis + 1, 0, step - 1)
        shape[axis] = count * step
        count = (count - 1) * step + 1
        gradient = spread.reshape(shape).narrow(axis, 0, count)
    return _pad(gradient, axis, start, size - start - count)


def _select_backward(gradient: Tensor, sizes: Sequence[int], axis: int, index: int) -> Tensor:
    """Put one entry's gradient among zeros, by padding."""
    axis %= len(sizes)
    index %= sizes[axis]
    return _pad(gradient.unsqueeze(axis), axis, index, sizes[axis] - index - 1)


def _pad(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    return functional.pad(x, [0, 0] * (x.dim() - 1 - axis) + [before, after])
