"""How the other ONNX operations of a compiled tail are written in TFLite: products, sums, and moves."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConversionError
from .tflite_elementwise import ELEMENTWISE, Attributes, Emit, combine
from .tflite_shapes import merged
from .tflite_writer import Made, Writer

# Axes that the runtime's kernels pad, slice and multiply.
_RANK = 5


def product(writer: Writer, a: Made, b: Made, turn_a: bool = False, turn_b: bool = False) -> Made:
    """Multiply matrices, the leading axes of which broadcast."""
    rows = a.shape[-1] if turn_a else a.shape[-2]
    columns = b.shape[-2] if turn_b else b.shape[-1]
    lead = a.shape[:-2] if len(a.shape) > len(b.shape) else b.shape[:-2]
    options = ("BatchMatMulOptions", {"adjX": turn_a, "adjY": turn_b})
    return writer.add("BATCH_MATMUL", [a, b], (*lead, rows, columns), options=options)


def _gemm(writer: Writer, attributes: Attributes, a: Made, b: Made, bias: Made | None = None) -> Made:
    found = product(writer, a, b, bool(attributes.get("transA")), bool(attributes.get("transB")))
    return found if bias is None else combine(writer, "ADD", [found, bias])


def _matmul(writer: Writer, _: Attributes, a: Made, b: Made) -> Made:
    return product(writer, a, b)


def _reduce(kind: str) -> Emit:
    def emit(writer: Writer, attributes: Attributes, x: Made, axes: Any = None) -> Made:
        chosen = range(len(x.shape)) if axes is None else [int(axis) % len(x.shape) for axis in np.ravel(axes)]
        return reduce(writer, kind, x, list(chosen), bool(attributes.get("keepdims", 1)))

    return emit


def reduce(writer: Writer, kind: str, x: Made, axes: Sequence[int], keep: bool) -> Made:
    """Reduce along some axes."""
    shape = [1 if axis in axes else length for axis, length in enumerate(x.shape) if keep or axis not in axes]
    return writer.add(kind, [x, writer.integers(axes)], shape, options=("ReducerOptions", {"keepDims": keep}))


def _argmax(writer: Writer, attributes: Attributes, x: Made) -> Made:
    axis = attributes.get("axis", 0) % len(x.shape)
    shape = [length for i, length in enumerate(x.shape) if i != axis]
    place = writer.constant(np.array(axis, np.int32))
    found = writer.add("ARG_MAX", [x, place], shape, "int32", ("ArgMaxOptions", {"outputType": 2}))
    if attributes.get("keepdims", 1):
        shape.insert(axis, 1)
    return writer.view(found, shape)


def _softmax(kind: str, options: tuple[str, dict[str, Any]]) -> Emit:
    def emit(writer: Writer, attributes: Attributes, x: Made) -> Made:
        axis, rank = attributes.get("axis", -1) % len(x.shape), len(x.shape)
        order = [*(i for i in range(rank) if i != axis), axis]
        turned = writer.transpose(x, order)
        found = writer.add(kind, [turned], turned.shape, options=options)
        return writer.transpose(found, [order.index(i) for i in range(rank)])

    return emit


def _layer_norm(writer: Writer, attributes: Attributes, x: Made, weight: Made, bias: Made | None = None) -> list[Made]:
    axes = list(range(attributes.get("axis", -1) % len(x.shape), len(x.shape)))
    mean = reduce(writer, "MEAN", x, axes, True)
    away = combine(writer, "SUB", [x, mean])
    variance = reduce(writer, "MEAN", combine(writer, "MUL", [away, away]), axes, True)
    nudged = combine(writer, "ADD", [variance, writer.number(attributes.get("epsilon", 1e-5))])
    inverse = writer.add("RSQRT", [nudged], nudged.shape)
    found = combine(writer, "MUL", [combine(writer, "MUL", [away, inverse]), weight])
    return [found if bias is None else combine(writer, "ADD", [found, bias]), mean, inverse]


def _transpose(writer: Writer, attributes: Attributes, x: Made) -> Made:
    return writer.transpose(x, list(attributes["perm"]))


def _reshape(writer: Writer, _: Attributes, x: Made, lengths: Any) -> Made:
    # 0 stands for the length that was there.
    wanted = [int(length) or x.shape[axis] for axis, length in enumerate(lengths)]
    if -1 in wanted:
        place = wanted.index(-1)
        rest = math.prod(length for length in wanted if length != -1)
        wanted[place] = math.prod(x.shape) // rest
    return writer.view(x, wanted)


def _expand(writer: Writer, _: Attributes, x: Made, lengths: Any) -> Made:
    """Repeat, by adding zeros of the shape that is wanted: it may be free."""
    wanted = [int(length) for length in lengths]
    x = writer.view(x, (1,) * (len(wanted) - len(x.shape)) + x.shape)
    more = [1 if have != 1 else want for have, want in zip(x.shape, wanted, strict=True)]
    known = [1 if writer.is_free(length) else length for length in more]
    if max(known, default=1) > 1:
        zeros = writer.add("BROADCAST_TO", [writer.number(0), writer.integers(known)], known)
        x = combine(writer, "ADD", [x, zeros])
    for axis, length in enumerate(more):
        if writer.is_free(length):
            along = [length if i == axis else 1 for i in range(len(wanted))]
            x = combine(writer, "ADD", [x, writer.view(writer.zeros(length), along)])
    return x


def _slice(writer: Writer, _: Attributes, x: Made, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Made:
    rank = len(x.shape)
    begin, end, stride, begin_mask, end_mask = [0] * rank, [0] * rank, [1] * rank, 2**rank - 1, 2**rank - 1
    shape = list(x.shape)
    chosen = range(len(starts)) if axes is None else axes
    for i, axis in enumerate(int(axis) % rank for axis in chosen):
        length, step = x.shape[axis], 1 if steps is None else int(steps[i])
        start, stop = (int(bound[i]) for bound in (starts, ends))
        start = min(max(start + length if start < 0 else start, 0), length)
        stop = min(max(stop + length if stop < 0 else stop, 0), length)
        if step < 1 or (writer.is_free(length) and (start, stop, step) != (0, length, 1)):
            raise ConversionError("expected parts of known axes in forward order, found others.")
        if stop != length:
            end[axis], end_mask = stop, end_mask & ~(1 << axis)
        if start:
            begin[axis], begin_mask = start, begin_mask & ~(1 << axis)
        stride[axis] = step
        shape[axis] = max(-(-(stop - start) // step), 0)
    if tuple(shape) == x.shape:
        return x
    options = ("StridedSliceOptions", {"beginMask": begin_mask, "endMask": end_mask})
    inputs = [x, writer.integers(begin), writer.integers(end), writer.integers(stride)]
    return writer.add("STRIDED_SLICE", inputs, shape, options=options)


def _gather(writer: Writer, attributes: Attributes, x: Made, place: Any) -> Made:
    axis = attributes.get("axis", 0) % len(x.shape)
    index = np.asarray(place)
    if index.ndim:
        raise ConversionError("expected one entry of an axis at a time, found several.")
    at = int(index) % x.shape[axis]
    shape = [length for i, length in enumerate(x.shape) if i != axis]
    constant = writer.constant(np.array(at, np.int32))
    return writer.add("GATHER", [x, constant], shape, options=("GatherOptions", {"axis": axis}))


def _concat(writer: Writer, attributes: Attributes, *parts: Made) -> Made:
    axis = attributes["axis"] % len(parts[0].shape)
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return writer.add("CONCATENATION", parts, shape, options=("ConcatenationOptions", {"axis": axis}))


def _pad(writer: Writer, attributes: Attributes, x: Made, pads: Any, value: Made | None = None) -> Made:
    rank = len(x.shape)
    pairs = [(int(pads[axis]), int(pads[axis + rank])) for axis in range(rank)]
    shape = tuple(length + sum(pair) for length, pair in zip(x.shape, pairs, strict=True))
    groups = [[axis] for axis in range(rank)]
    if rank > _RANK:
        groups = _still(pairs)
    view = writer.view(x, merged(x.shape, groups))
    table = np.array([pairs[group[0]] for group in groups], np.int32)
    inputs = [view, writer.constant(table)] + ([] if value is None else [value])
    kind, options = ("PAD", "PadOptions") if value is None else ("PADV2", "PadV2Options")
    return writer.view(writer.add(kind, inputs, merged(shape, groups), options=(options, {})), shape)


def _still(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Join neighbouring axes without padding; those with padding stay by themselves."""
    groups: list[list[int]] = []
    for axis, pair in enumerate(pairs):
        if groups and not any(pair) and not any(pairs[groups[-1][-1]]):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _split(writer: Writer, attributes: Attributes, x: Made, lengths: Any) -> list[Made]:
    axis = attributes.get("axis", 0) % len(x.shape)
    sizes = [int(length) for length in lengths]
    shapes = [[size if i == axis else length for i, length in enumerate(x.shape)] for size in sizes]
    inputs = [x, writer.integers(sizes), writer.constant(np.array(axis, np.int32))]
    return writer.several("SPLIT_V", inputs, shapes, None, ("SplitVOptions", {"numSplits": len(sizes)}))


def _identity(writer: Writer, _: Attributes, x: Made) -> Made:
    return x


# Places of inputs that are lists of whole numbers, known at conversion.
KNOWN = {
    "ReduceSum": (1,),
    "ReduceMean": (1,),
    "ReduceMax": (1,),
    "ReduceMin": (1,),
    "Reshape": (1,),
    "Expand": (1,),
    "Slice": (1, 2, 3, 4),
    "Gather": (1,),
    "Pad": (1,),
    "Split": (1,),
}
EMITTERS: dict[str, Emit] = {
    **ELEMENTWISE,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceSum": _reduce("SUM"),
    "ReduceMean": _reduce("MEAN"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "ArgMax": _argmax,
    "Softmax": _softmax("SOFTMAX", ("SoftmaxOptions", {"beta": 1.0})),
    "LogSoftmax": _softmax("LOG_SOFTMAX", ("LogSoftmaxOptions", {})),
    "LayerNormalization": _layer_norm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concat,
    "Pad": _pad,
    "Split": _split,
    "Identity": _identity,
}
