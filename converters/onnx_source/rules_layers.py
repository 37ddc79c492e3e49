"""What ONNX operators with weights or windows compute, in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .operation import Operation

Given = Sequence[Any]
_SAME = ("SAME_UPPER", "SAME_LOWER")
_CONVOLUTIONS = {3: functional.conv1d, 4: functional.conv2d}


def _conv(op: Operation, given: Given, n: int) -> Tensor:
    x, weight, *rest = given
    bias = rest[0] if rest else None
    convolve = _CONVOLUTIONS.get(op.rank())
    if convolve is None or 1 not in op.constants:
        raise op.refusal("a convolution over one or two axes with a constant weight", f"{op.rank() - 2} axes")
    spatial = op.rank() - 2
    strides, dilations = _window(op, "strides", spatial), _window(op, "dilations", spatial)
    before, after = _padding(op, list(op.constants[1].shape[2:]), strides, dilations)
    x, padding = _pad_unequal(x, before, after, 0.0)
    return convolve(x, weight, bias, strides, padding, dilations, int(op.attribute("group", 1)))


def _gemm(op: Operation, given: Given, n: int) -> Tensor:
    a, b, *rest = given
    c = rest[0] if rest and rest[0] is not None else None
    alpha, beta = float(op.attribute("alpha", 1.0)), float(op.attribute("beta", 1.0))
    a = a.t() if op.attribute("transA", 0) else a
    rows = b if op.attribute("transB", 0) else b.t()
    plain = c is not None and c.dim() == 1 and c.shape[0] == rows.shape[0]
    if alpha == 1 and beta == 1 and (c is None or plain):
        return functional.linear(a, rows, c)
    y = functional.linear(a, rows) * alpha
    return y if c is None else y + c * beta


def _matmul(op: Operation, given: Given, n: int) -> Tensor:
    a, b = given
    if 1 in op.constants and b.dim() == 2 and a.dim() > 1:
        return functional.linear(a, b.t())
    return torch.matmul(a, b)


def _einsum(op: Operation, given: Given, n: int) -> Tensor:
    return torch.einsum(op.attribute("equation"), *given)


def _batch_norm(op: Operation, given: Given, n: int) -> Tensor:
    x, scale, shift, mean, variance = given
    if op.attribute("training_mode", 0):
        raise op.refusal("stored statistics", "those of the batch")
    return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, float(op.attribute("epsilon", 1e-5)))


def _layer_norm(op: Operation, given: Given, n: int) -> Tensor:
    x, scale, *rest = given
    shape = op.shapes[0]
    assert shape is not None  # noqa: S101  it has an input
    width = list(shape.axes[op.axis(-1) :])
    shift = rest[0] if rest else None
    scale, shift = (v if v is None or list(v.shape) == width else v.expand(width) for v in (scale, shift))
    return functional.layer_norm(x, width, scale, shift, float(op.attribute("epsilon", 1e-5)))


def _instance_norm(op: Operation, given: Given, n: int) -> Tensor:
    x, scale, shift = given
    return functional.group_norm(x, scale.shape[0], scale, shift, float(op.attribute("epsilon", 1e-5)))


def _group_norm(op: Operation, given: Given, n: int) -> Tensor:
    x, scale, shift = given
    groups, shape = int(op.attribute("num_groups")), op.shapes[0]
    assert shape is not None  # noqa: S101  it has an input
    # Up to opset 20 there is a scale per group.
    each = shape.axes[1] // scale.shape[0]
    scale, shift = (value.repeat_interleave(each) if each > 1 else value for value in (scale, shift))
    return functional.group_norm(x, groups, scale, shift, float(op.attribute("epsilon", 1e-5)))


def _pool(op: Operation, given: Given, n: int) -> Tensor:
    (x,) = given
    spatial = op.rank() - 2
    if spatial not in (1, 2) or len([name for name in op.outputs if name]) > 1:
        raise op.refusal("pooling over one or two axes that tells no places", f"{spatial} axes")
    kernel = [int(k) for k in op.attribute("kernel_shape")]
    strides, dilations = _window(op, "strides", spatial), _window(op, "dilations", spatial)
    before, after = _padding(op, kernel, strides, dilations)
    up = bool(op.attribute("ceil_mode", 0))
    if spatial == 1:
        x = x.unsqueeze(2)
        kernel, strides, dilations = [1, *kernel], [1, *strides], [1, *dilations]
        before, after = [0, *before], [0, *after]
    if op.kind == "MaxPool":
        # What is put around never is the greatest.
        x, padding = _pad_unequal(x, before, after, -1e30)
        y = functional.max_pool2d(x, kernel, strides, padding, dilations, up)
    elif set(dilations) != {1}:
        raise op.refusal("averages of windows without holes", f"dilations {dilations}")
    elif before == after or op.attribute("count_include_pad", 0):
        x, padding = _pad_unequal(x, before, after, 0.0)
        y = functional.avg_pool2d(x, kernel, strides, padding, up, bool(op.attribute("count_include_pad", 0)))
    else:
        ones, _ = _pad_unequal(torch.ones_like(x[:1, :1]), before, after, 0.0)
        x, _ = _pad_unequal(x, before, after, 0.0)
        y = functional.avg_pool2d(x, kernel, strides, 0, up) / functional.avg_pool2d(ones, kernel, strides, 0, up)
    return y.squeeze(2) if spatial == 1 else y


def _global(op: Operation, given: Given, n: int) -> Tensor:
    axes = list(range(2, op.rank()))
    x: Tensor = given[0]
    return x.mean(axes, keepdim=True) if op.kind == "GlobalAveragePool" else x.amax(axes, keepdim=True)


def _window(op: Operation, name: str, spatial: int) -> list[int]:
    return [int(number) for number in op.attribute(name, [1] * spatial)]


def _padding(
    op: Operation, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return what is put in front of each axis, and behind it."""
    spatial, kind = len(kernel), op.attribute("auto_pad", "NOTSET")
    if kind not in _SAME:
        pads = [int(p) for p in op.attribute("pads", [0] * 2 * spatial)] if kind == "NOTSET" else [0] * 2 * spatial
        return pads[:spatial], pads[spatial:]
    shape = op.shapes[0]
    assert shape is not None  # noqa: S101  it has an input
    before, after = [], []
    for i, length in enumerate(shape.axes[2:]):
        whole = max(0, (-(-length // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - length)
        small = whole // 2
        before.append(small if kind == "SAME_UPPER" else whole - small)
        after.append(whole - before[-1])
    return before, after


def _pad_unequal(x: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> tuple[Tensor, list[int]]:
    """Pad where the two sides differ; otherwise leave it to the operation."""
    if list(before) == list(after):
        return x, list(before)
    pads = [length for pair in reversed(list(zip(before, after, strict=True))) for length in pair]
    return functional.pad(x, pads, value=value), [0] * len(before)


RULES: Mapping[str, Callable[[Operation, Given, int], Any]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
}
