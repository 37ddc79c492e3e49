"""What ONNX operators that move values about compute, in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from .operation import Operation

Given = Sequence[Any]
_FLOATS = (onnx.TensorProto.FLOAT,)


def same(op: Operation, given: Given, n: int) -> Tensor:
    """Hand on the first input."""
    x: Tensor = given[0]
    return x


def _cast(op: Operation, given: Given, n: int) -> Tensor:
    if op.attribute("to") not in _FLOATS:
        raise op.refusal("float32", onnx.TensorProto.DataType.Name(op.attribute("to")).lower())
    return given[0].float()  # type: ignore[no-any-return]


def _reshape(op: Operation, given: Given, n: int) -> Tensor:
    """Give the shape that was seen: where it comes from need not be computed."""
    return given[0].reshape(op.made[0].at(n))  # type: ignore[no-any-return]


def _expand(op: Operation, given: Given, n: int) -> Tensor:
    return given[0].expand(op.made[0].at(n))  # type: ignore[no-any-return]


def _transpose(op: Operation, given: Given, n: int) -> Tensor:
    return given[0].permute(op.attribute("perm", list(range(op.rank()))[::-1]))  # type: ignore[no-any-return]


def _concat(op: Operation, given: Given, n: int) -> Tensor:
    return torch.cat(list(given), op.axis(0))


def _split(op: Operation, given: Given, n: int) -> tuple[Tensor, ...]:
    axis = op.axis(0)
    lengths = op.numbers(1, "split")
    shape = op.shapes[0]
    assert shape is not None  # noqa: S101  it has an input
    if lengths is None:
        each = -(-shape.axes[axis] // len(op.outputs))
        lengths = [min(each, shape.axes[axis] - i * each) for i in range(len(op.outputs))]
    if shape.axes[axis] < 0 or min(lengths) < 1:
        raise op.refusal("parts of each sample", f"axis {axis} in lengths {lengths}")
    return torch.split(given[0], lengths, axis)


def _slice(op: Operation, given: Given, n: int) -> Tensor:
    x: Tensor = given[0]
    starts, ends = op.numbers(1, "starts"), op.numbers(2, "ends")
    if starts is None or ends is None:
        raise op.refusal("bounds that are constants", "computed ones")
    axes = op.numbers(3, "axes", list(range(len(starts)))) or []
    steps = op.numbers(4, "steps", [1] * len(starts)) or []
    for start, end, given_axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = given_axis % op.rank()
        shape = op.shapes[0]
        assert shape is not None  # noqa: S101  it has an input
        length = shape.axes[axis]
        whole = start == 0 and step == 1 and end >= max(length, 2**31 - 1)
        if whole:
            continue
        if length < 0 or step < 1:
            raise op.refusal("a part of each sample, in its order", f"axis {axis} in steps of {step}")
        rows = range(*slice(start, end, step).indices(length))
        x = x.narrow(axis, rows.start, len(rows)) if step == 1 else _every(x, axis, rows)
    return x


def _every(x: Tensor, axis: int, rows: range) -> Tensor:
    at: list[Any] = [slice(None)] * x.dim()
    at[axis] = slice(rows.start, rows.stop, rows.step)
    return x[tuple(at)]


def _gather(op: Operation, given: Given, n: int) -> Tensor:
    """Take one row, or neighbours; others by a product with zeros and ones."""
    axis, shape = op.axis(0), op.shapes[0]
    if 1 not in op.constants or 0 in op.constants or shape is None or shape.axes[axis] < 0:
        raise op.refusal("places that are constants, in each sample", f"{op.inputs[1]!r} along axis {axis}")
    x: Tensor = given[0]
    length, places = shape.axes[axis], op.constants[1].astype(np.int64)
    places = np.where(places < 0, places + length, places)
    if places.ndim == 0:
        return x.select(axis, int(places))
    flat = places.reshape(-1)
    if places.ndim == 1 and np.array_equal(flat, np.arange(flat[0], flat[0] + len(flat))):
        return x.narrow(axis, int(flat[0]), len(flat))
    if places.ndim != 1:
        raise op.refusal("places in a row", f"those of {places.ndim} axes")
    chosen = torch.from_numpy(np.eye(length, dtype=np.float32)[flat].T.copy())
    return torch.matmul(x.movedim(axis, -1), chosen).movedim(-1, axis)


def _pad(op: Operation, given: Given, n: int) -> Tensor:
    pads, mode = op.numbers(1, "pads"), op.attribute("mode", "constant")
    if pads is None or mode != "constant" or min(pads) < 0:
        raise op.refusal("padding by a constant, its widths too", f"mode {mode!r} and widths {pads}")
    rank, half = op.rank(), len(pads) // 2
    axes = op.numbers(3, "axes", list(range(half))) or []
    widths = {axis % rank: (pads[i], pads[half + i]) for i, axis in enumerate(axes)}
    flat = [length for axis in reversed(range(rank)) for length in widths.get(axis, (0, 0))]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    return functional.pad(given[0], flat, value=float(op.number(2, 0.0) or 0.0))


RULES: Mapping[str, Callable[[Operation, Given, int], Any]] = {
    **dict.fromkeys(("Identity", "Dropout"), same),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Cast": _cast,
    "Expand": _expand,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
}
