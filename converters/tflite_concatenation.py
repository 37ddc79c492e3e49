"""Free concatenations of a TFLite file from constants repeated for every sample, such as a class token."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .tflite_edit import add_constant, add_tensor, constant, new_operator, shape_of


@dataclass(frozen=True, eq=False)
class _Group:
    """A part of a concatenation that is computed, and the constants beside it.

    Args:
        tensor: Place of the part.
        before: Constants in front of it, one sample each.
        after: Constants behind it.
    """

    tensor: int
    before: list[NDArray[Any]]
    after: list[NDArray[Any]]


def single_copy(values: NDArray[Any] | None, batch: int) -> NDArray[Any] | None:
    """Return a constant for a single sample.

    Args:
        values: The constant, or None.
        batch: The batch size that it is repeated to.

    Returns:
        It with a batch axis of 1, or None where no axis is the batch, or samples differ.
    """
    if values is None or batch not in values.shape:
        return None
    first = values.take([0], axis=values.shape.index(batch))
    return first if np.array_equal(values, np.broadcast_to(first, values.shape)) else None


def pad_constants(model: Any, graph: Any, operator: Any, batch: int) -> list[Any]:
    """Let zeros grow with the batch in the constants' place, and add the constants to them.

    Args:
        model: The file, from `read_model`; changed in place.
        graph: Its graph.
        operator: The concatenation.
        batch: The batch size that the file was exported with.

    Returns:
        The operators that take its place; itself alone where nothing is to be done.
    """
    options, rank = operator.builtinOptions, len(shape_of(graph.tensors[operator.outputs[0]]))
    axis = options.axis % rank
    parts = [constant(model, graph, operator, place) for place in range(len(operator.inputs))]
    singles = [None if part is None or part.shape[axis] == batch else single_copy(part, batch) for part in parts]
    constants = sum(single is not None for single in singles)
    if options.fusedActivationFunction or constants in (0, len(singles)):
        return [operator]
    groups: list[_Group] = []
    waiting: list[NDArray[Any]] = []
    for tensor, single in zip(operator.inputs, singles, strict=True):
        if single is None:
            groups.append(_Group(int(tensor), waiting, []))
            waiting = []
        else:
            waiting.append(single)
    groups[-1].after.extend(waiting)
    made: list[Any] = []
    operator.inputs = [_fill(model, graph, group, axis, made) for group in groups]
    if len(groups) > 1:
        return [*made, operator]
    made[-1].outputs = operator.outputs
    return made


def _fill(model: Any, graph: Any, group: _Group, axis: int, made: list[Any]) -> int:
    if not group.before and not group.after:
        return group.tensor
    part = graph.tensors[group.tensor]
    shape = shape_of(part)
    like = (group.before or group.after)[0]
    between = np.zeros([length if i == axis else like.shape[i] for i, length in enumerate(shape)], like.dtype)
    filling = np.concatenate([*group.before, between, *group.after], axis=axis)
    margins = np.zeros((len(shape), 2), np.int32)
    margins[axis] = [sum(values.shape[axis] for values in side) for side in (group.before, group.after)]
    grown = [filling.shape[axis] if i == axis else length for i, length in enumerate(shape)]
    padded, total = (add_tensor(graph, part, grown) for _ in range(2))
    made.append(
        new_operator(
            model,
            schema.BuiltinOperator.PAD,
            [group.tensor, add_constant(model, graph, part, margins)],
            padded,
            (schema.BuiltinOptions.PadOptions, schema.PadOptionsT()),
        )
    )
    made.append(
        new_operator(
            model,
            schema.BuiltinOperator.ADD,
            [padded, add_constant(model, graph, part, filling)],
            total,
            (schema.BuiltinOptions.AddOptions, schema.AddOptionsT()),
        )
    )
    return total
