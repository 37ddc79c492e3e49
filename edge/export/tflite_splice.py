"""The operators and constants of one TFLite model, put behind another one with their numbers moved."""

from collections.abc import Iterator, Mapping

import numpy as np

from ..runtime import tflite_schema as schema
from ..runtime.flatbuffer import entries, follow, numbers, scalar, tables, target
from ..runtime.tflite_schema import Graph, Model, Operator, Tensor
from .flatbuffer_writer import Kept, Table, Value
from .tflite_graph import OpenModel, Shape, Signal, described

# The number of a tensor that is left out.
_ABSENT = -1


def splice(model: OpenModel, content: bytes, given: Mapping[str, tuple[int, Shape]], output: str, width: int) -> Signal:
    """Put a model of float32 inputs and one output behind another.

    Args:
        model: What it is put behind.
        content: Its TFLite file, not unsound.
        given: For each of its inputs by name the number of the tensor that takes its place, and that one's shape, with
            -1 for the batch.
        output: The name of its output, ``(n, width) float32``.
        width: The output's.

    Returns:
        The output.

    Raises:
        ValueError: If it takes or gives something else, or has parts that cannot be moved.
    """
    view, base = memoryview(content), model.put_behind(content)
    root = follow(view, 0)
    (graph,) = tables(view, root, Model.GRAPHS)
    places = list(tables(view, graph, Graph.TENSORS))
    taken, (made,) = numbers(view, graph, Graph.INPUTS, "i"), _only(numbers(view, graph, Graph.OUTPUTS, "i"))
    names = [_text(view, places[i]) for i in taken]
    if sorted(names) != sorted(given):
        raise ValueError(f"inputs {names[:5]}")
    for i, name in zip(taken, names, strict=True):
        _check_fits(view, places[i], name, given[name][1])
    if made in taken or _text(view, places[made]) != output or len(described(view, places[made])[0]) != 2:
        raise ValueError(f"no output {output!r} of two axes")
    first, codes = len(model.buffers) - 1, len(model.codes)
    # Buffer 0 means that a tensor has none, here as there.
    buffers = [Kept(base + at) for at in tables(view, root, Model.BUFFERS)]
    model.buffers += buffers[1:]
    model.codes += [Kept(base + at) for at in tables(view, root, Model.CODES)]
    moved = {_ABSENT: _ABSENT, **{i: given[name][0] for i, name in zip(taken, names, strict=True)}}
    for i, at in enumerate(places):
        if i not in moved:
            moved[i] = _moved_tensor(model, view, at, first, len(buffers), (model.batch, width) if i == made else None)
    for operator in tables(view, graph, Graph.OPERATORS):
        model.operators.append(_moved_operator(view, operator, base, codes, moved))
    return Signal(moved[made], (width,))


def _only(outputs: tuple[int, ...]) -> tuple[int, ...]:
    if len(outputs) != 1:
        raise ValueError(f"{len(outputs)} outputs")
    return outputs


def _check_fits(view: memoryview, tensor: int, name: str, wanted: Shape) -> None:
    shape, kind = described(view, tensor)
    fixed = tuple(numbers(view, tensor, Tensor.SHAPE_SIGNATURE, "i")) or shape
    fits = len(shape) == len(fixed) == len(wanted) and all(a in (-1, b) for a, b in zip(fixed, wanted, strict=True))
    if not fits or kind != schema.FLOAT32:
        raise ValueError(f"{name!r} of shape {fixed[:8]} and type {kind}, where {wanted} is needed")


def _moved_tensor(
    model: OpenModel, view: memoryview, tensor: int, first: int, buffers: int, known: Shape | None
) -> int:
    """Copy a tensor.

    Args:
        model: Where it is put.
        view: Where it is.
        tensor: Its place.
        first: What is added to the number of its buffer.
        buffers: How many there are of those.
        known: Its shape, where that is another one than it had.
    """
    buffer = scalar(view, tensor, Tensor.BUFFER, "<I", 0)
    if buffer >= max(buffers, 1):
        raise ValueError("a tensor without its buffer")
    if target(view, tensor, Tensor.SPARSITY) is not None or scalar(view, tensor, Tensor.IS_VARIABLE, "<b", 0):
        raise ValueError("a tensor that is sparse or that keeps a state")
    shape, kind = described(view, tensor)
    signature = tuple(numbers(view, tensor, Tensor.SHAPE_SIGNATURE, "i"))
    if known is not None:
        shape, signature = known, (-1, *known[1:])
    more: dict[int, Value] = {Tensor.HAS_RANK: np.uint8(1)}
    if signature:
        more[Tensor.SHAPE_SIGNATURE] = np.array(signature, np.int32)
    if buffer:
        more[Tensor.BUFFER] = np.uint32(first + buffer)
    return model.tensor(f"tail/{_text(view, tensor)}", shape, more, kind)


def _moved_operator(view: memoryview, operator: int, base: int, codes: int, moved: Mapping[int, int]) -> Table:
    def places(slot: int) -> Iterator[int]:
        return (moved[i] for i in numbers(view, operator, slot, "i"))

    options = target(view, operator, Operator.OPTIONS)
    fields: dict[int, Value] = {
        Operator.CODE: np.uint32(codes + scalar(view, operator, Operator.CODE, "<I", 0)),
        Operator.INPUTS: np.fromiter(places(Operator.INPUTS), np.int32),
        Operator.OUTPUTS: np.fromiter(places(Operator.OUTPUTS), np.int32),
    }
    if options is not None:
        fields[Operator.OPTIONS_TYPE] = np.uint8(scalar(view, operator, Operator.OPTIONS_TYPE, "<B", 0))
        fields[Operator.OPTIONS] = Kept(base + options)
    return Table(fields)


def _text(view: memoryview, tensor: int) -> str:
    places = entries(view, tensor, Tensor.NAME)
    return bytes(view[places.start : places.stop]).decode()
