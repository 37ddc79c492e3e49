"""How ATen operations are written in ONNX: one function an operation, or a family of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from .onnx_elementwise import ELEMENTWISE, Emit, cast_to
from .onnx_writer import Held, Shape, Writer

_aten = torch.ops.aten


def _matrix_product(writer: Writer, node: fx.Node, shape: Shape, a: Held, b: Held, bias: Held | None = None) -> Held:
    names, turned = [], {}
    for value, flag in ((a, "transA"), (b, "transB")):
        source = writer.transposed(value)
        turned[flag] = int(source is not None)
        names.append(source or writer.materialise(value))
    # Gemm's bias broadcasts in one direction, as it is held.
    more = [] if bias is None else [bias.name]
    return Held(writer.add("Gemm", [*names, *more], **turned)[0], shape, shape)


def _addmm(writer: Writer, node: fx.Node, shape: Shape, bias: Held, a: Held, b: Held) -> Held:
    return _matrix_product(writer, node, shape, a, b, bias)


def _batched_product(writer: Writer, node: fx.Node, shape: Shape, a: Held, b: Held) -> Held:
    # A matrix for all of a batch of products broadcasts by itself.
    names = [v.name if v.shape[-2:] == v.logical[-2:] else writer.materialise(v) for v in (a, b)]
    return Held(writer.add("MatMul", names)[0], shape, shape)


def _reduce(kind: str) -> Emit:
    def emit(
        writer: Writer, node: fx.Node, shape: Shape, x: Held, axes: Any = None, keepdim: bool = False, **_: Any
    ) -> Held:
        axes = [axes] if isinstance(axes, int) else list(axes or [])
        every = axes or list(range(len(x.logical)))
        if not every:
            return x
        # Counting is a sum of whole numbers.
        x = _convert(writer, node, x.logical, x)
        inputs = [writer.materialise(x), writer.integers(sorted(axis % len(x.logical) for axis in every))]
        return Held(writer.add(kind, inputs, keepdims=int(keepdim))[0], shape, shape)

    return emit


def _argmax(writer: Writer, node: fx.Node, shape: Shape, x: Held, axis: int, keepdim: bool = False) -> Held:
    name = writer.add("ArgMax", [writer.materialise(x)], axis=axis, keepdims=int(keepdim))[0]
    return Held(name, shape, shape)


def _softmax(kind: str) -> Emit:
    def emit(writer: Writer, node: fx.Node, shape: Shape, x: Held, axis: int, _half: bool = False) -> Held:
        return Held(writer.add(kind, [writer.materialise(x)], axis=axis)[0], shape, shape)

    return emit


def _layer_norm(
    writer: Writer, node: fx.Node, shapes: Sequence[Shape], x: Held, width: Any, weight: Any, bias: Any, eps: float
) -> list[Held]:
    if weight is None:
        ones = np.ones([int(d) for d in width], np.float32)
        weight = Held(writer.constant(ones), ones.shape, ones.shape)
    inputs = [writer.materialise(x), writer.materialise(weight)]
    if bias is not None:
        inputs.append(writer.materialise(bias))
    names = writer.add("LayerNormalization", inputs, 3, axis=-len(width), epsilon=eps)
    return [Held(name, shape, shape) for name, shape in zip(names, shapes, strict=True)]


def _permute(writer: Writer, node: fx.Node, shape: Shape, x: Held, order: Sequence[int]) -> Held:
    return writer.permute(x, [axis % len(order) for axis in order])


def _swap(writer: Writer, node: fx.Node, shape: Shape, x: Held, a: int = 0, b: int = 1) -> Held:
    order = list(range(len(shape)))
    order[a], order[b] = order[b], order[a]
    return writer.permute(x, order)


def _view(writer: Writer, node: fx.Node, shape: Shape, x: Held, *_: Any, **__: Any) -> Held:
    kept = tuple(dim for dim in x.logical if dim != 1) == tuple(dim for dim in shape if dim != 1)
    if not x.whole and kept:
        # Only axes of one come or go: what is held stays as small.
        return _thin_view(writer, x, shape)
    return writer.view(x, shape)


def _thin_view(writer: Writer, x: Held, shape: Shape) -> Held:
    padded = (1,) * (len(x.logical) - len(x.shape)) + x.shape
    long = iter([held for held, dim in zip(padded, x.logical, strict=True) if dim != 1])
    held = tuple(1 if dim == 1 else next(long) for dim in shape)
    return Held(writer.view(Held(x.name, x.shape, x.shape), held).name, held, shape)


def _expand(writer: Writer, node: fx.Node, shape: Shape, x: Held, *_: Any, **__: Any) -> Held:
    return Held(x.name, x.shape, shape)


def _same(writer: Writer, node: fx.Node, shape: Shape, x: Held, *_: Any, **__: Any) -> Held:
    return x


def _convert(writer: Writer, node: fx.Node, shape: Shape, x: Held, *_: Any, **__: Any) -> Held:
    return x if node.args[0].meta["val"].dtype == node.meta["val"].dtype else cast_to(writer, x, node.meta["val"].dtype)  # type: ignore[union-attr]


def _filled(place: int | float | None) -> Emit:
    """A tensor of one number, which is an argument at a place, or the number given as a float."""

    def emit(writer: Writer, node: fx.Node, shape: Shape, *args: Any, **_: Any) -> Held:
        value: Any = args[place] if isinstance(place, int) else place
        return Held(writer.number(value, node.meta["val"].dtype).name, (), shape)

    return emit


def _range(writer: Writer, node: fx.Node, shape: Shape, start: int, end: int, step: int = 1, **_: Any) -> Held:
    return Held(writer.constant(np.arange(start, end, step, dtype=np.int64)), shape, shape)


def _slice(
    writer: Writer,
    node: fx.Node,
    shape: Shape,
    x: Held,
    axis: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Held:
    if shape == x.logical:
        return x
    last = 2**62 if end is None else end
    bounds = [writer.integers([bound]) for bound in (start or 0, last, axis % len(shape), step)]
    return Held(writer.add("Slice", [writer.materialise(x), *bounds])[0], shape, shape)


def _select(writer: Writer, node: fx.Node, shape: Shape, x: Held, axis: int, index: int) -> Held:
    place = writer.constant(np.array(index, np.int64))
    return Held(writer.add("Gather", [writer.materialise(x), place], axis=axis % len(x.logical))[0], shape, shape)


def _cat(writer: Writer, node: fx.Node, shape: Shape, parts: Sequence[Held], axis: int = 0) -> Held:
    names = [writer.materialise(part) for part in parts]
    return Held(writer.add("Concat", names, axis=axis % len(shape))[0], shape, shape)


def _pad(writer: Writer, node: fx.Node, shape: Shape, x: Held, pad: Sequence[int], value: float = 0.0) -> Held:
    rank = len(shape)
    before, after = [0] * rank, [0] * rank
    for i in range(len(pad) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pad[2 * i], pad[2 * i + 1]
    name = writer.materialise(x)
    if min([*before, *after]) < 0:
        # The gradient of padding takes away; TFLite pads by 0 or more.
        name = _taken_away(writer, name, before, after)
        before, after = ([max(0, width) for width in widths] for widths in (before, after))
        if not any([*before, *after]):
            return Held(name, shape, shape)
    inputs = [name, writer.integers([*before, *after])]
    if value:
        inputs.append(writer.number(value, node.meta["val"].dtype).name)
    return Held(writer.add("Pad", inputs)[0], shape, shape)


def _taken_away(writer: Writer, name: str, before: Sequence[int], after: Sequence[int]) -> str:
    axes = [axis for axis, widths in enumerate(zip(before, after, strict=True)) if min(widths) < 0]
    starts = [max(0, -before[axis]) for axis in axes]
    # Counted from the end: the length of the batch is not known.
    ends = [after[axis] if after[axis] < 0 else 2**62 for axis in axes]
    bounds = [writer.integers(numbers) for numbers in (starts, ends, axes, [1] * len(axes))]
    return writer.add("Slice", [name, *bounds])[0]


def _split(writer: Writer, node: fx.Node, shapes: Sequence[Shape], x: Held, _sizes: Any, axis: int = 0) -> list[Held]:
    axis %= len(x.logical)
    lengths = writer.integers([shape[axis] for shape in shapes])
    names = writer.add("Split", [writer.materialise(x), lengths], len(shapes), axis=axis)
    return [Held(name, shape, shape) for name, shape in zip(names, shapes, strict=True)]


EMITTERS: dict[Any, Emit] = {
    **ELEMENTWISE,
    _aten.mm: _matrix_product,
    _aten.addmm: _addmm,
    _aten.bmm: _batched_product,
    _aten.sum: _reduce("ReduceSum"),
    _aten.mean: _reduce("ReduceMean"),
    _aten.amax: _reduce("ReduceMax"),
    _aten.amin: _reduce("ReduceMin"),
    _aten.argmax: _argmax,
    _aten._softmax: _softmax("Softmax"),
    _aten._log_softmax: _softmax("LogSoftmax"),
    _aten.native_layer_norm: _layer_norm,
    _aten.permute: _permute,
    _aten.transpose: _swap,
    _aten.t: _swap,
    _aten.view: _view,
    _aten._unsafe_view: _view,
    _aten.reshape: _view,
    _aten.unsqueeze: _view,
    _aten.squeeze: _view,
    _aten.expand: _expand,
    _aten.clone: _same,
    _aten.alias: _same,
    _aten.detach: _same,
    _aten.lift_fresh_copy: _same,
    _aten._to_copy: _convert,
    _aten.full: _filled(1),
    _aten.full_like: _filled(1),
    _aten.scalar_tensor: _filled(0),
    _aten.zeros: _filled(0.0),
    _aten.zeros_like: _filled(0.0),
    _aten.new_zeros: _filled(0.0),
    _aten.ones: _filled(1.0),
    _aten.ones_like: _filled(1.0),
    _aten.arange: _range,
    _aten.slice: _slice,
    _aten.select: _select,
    _aten.cat: _cat,
    _aten.constant_pad_nd: _pad,
    _aten.split_with_sizes: _split,
    _aten.split: _split,
}
