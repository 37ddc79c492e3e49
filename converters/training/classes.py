"""The class axis of a compiled tail, free: a device may have other classes than were shipped.

A tail is compiled for two numbers of classes. What differs between the models is the class axis, and nothing else may:
lengths in its place are then read off the head's weight as the model runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from ...errors import ConversionError
from .capture import Captured

CLASSES = "k"
_VIEWS = (torch.ops.aten.view, torch.ops.aten.reshape, torch.ops.aten._unsafe_view)
# Lengths that no other axis has.
_TWO = (1_009, 1_013)


def with_classes(captured: Captured, head: tuple[str, ...], classes: int) -> Captured:
    """Return a tail whose head has another number of rows, repeated from those that it has.

    Args:
        captured: The tail.
        head: Names of the tensors whose first axis is that of the classes.
        classes: How many.
    """
    rows = {name: captured.tensors[name] for name in head}
    changed = {name: values[torch.arange(classes) % len(values)] for name, values in rows.items()}
    return replace(captured, tensors={**captured.tensors, **changed})


def loosen(captured: Captured, head: tuple[str, ...], classes: int) -> None:
    """Let views behind the head find the number of classes by themselves. What the graph computes stays the same.

    Args:
        captured: The tail, whose graph is changed.
        head: Names of the tensors whose first axis is that of the classes.
        classes: Their number now.
    """
    behind = {node for node, name in captured.names.items() if name in head}
    for node in captured.graph.nodes:
        if not behind & set(node.all_input_nodes):
            continue
        behind.add(node)
        if getattr(node.target, "overloadpacket", None) in _VIEWS and isinstance(node.args[1], list | tuple):
            shape = list(node.args[1])
            batch = captured.source.meta["val"].shape[0]
            if shape[0] == -1 and node.meta["val"].shape[0] == batch:
                with captured.graph.inserting_before(node):
                    shape[0] = captured.graph.call_function(torch.ops.aten.sym_size.int, (captured.source, 0))
                shape[0].meta["val"] = batch
            if shape.count(classes) == 1 and -1 not in shape:
                node.update_arg(1, [-1 if length == classes else length for length in shape])


def free_classes(captured: Captured, head: tuple[str, ...], compiled: Callable[[Captured, int], bytes]) -> bytes:
    """Compile a model whose number of classes is free.

    Args:
        captured: The tail.
        head: Names of the tensors whose first axis is that of the classes, the weight first; all of them train.
        compiled: Compiles the model for a tail with a number of classes.

    Returns:
        The ONNX file.

    Raises:
        ConversionError: If the number of classes decides about more than the length of an axis.
    """
    try:
        models = [onnx.load_from_string(compiled(with_classes(captured, head, k), k)) for k in _TWO]
    except ConversionError:
        raise
    # An operation that counts on the shipped number of classes stops in any way.
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise _fixed(f"{type(error).__name__}: {first}") from error
    return _free(models[0], models[1], head[0])


def _free(model: onnx.ModelProto, other: onnx.ModelProto, weight: str) -> bytes:
    graph = model.graph
    if [n.SerializeToString() for n in graph.node] != [n.SerializeToString() for n in other.graph.node]:
        raise _fixed("operations that differ")
    for values, others in ((graph.input, other.graph.input), (graph.output, other.graph.output)):
        for value, beside in zip(values, others, strict=True):
            dims = zip(value.type.tensor_type.shape.dim, beside.type.tensor_type.shape.dim, strict=True)
            for dim in (one for one, two in dims if one.dim_value != two.dim_value):
                dim.dim_param = CLASSES
    lengths = _lengths(graph, other.graph)
    size = helper.make_node("Shape", [f"parameter/{weight}"], ["classes"], name="classes", start=0, end=1)
    made: dict[str, onnx.NodeProto] = {}
    constants: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in lengths:
                node.input[i] = _place(node, name, lengths[name], made, constants)
    kept = [tensor for tensor in graph.initializer if tensor.name not in lengths]
    rest = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *constants.values()])
    graph.node.extend([*([size] if made else []), *made.values(), *rest])
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _lengths(graph: onnx.GraphProto, other: onnx.GraphProto) -> Mapping[str, list[int | None]]:
    """Return the constants that hold the number of classes, None in its place."""
    found: dict[str, list[int | None]] = {}
    for tensor, beside in zip(graph.initializer, other.initializer, strict=True):
        one, two = numpy_helper.to_array(tensor), numpy_helper.to_array(beside)
        if one.shape == two.shape and np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            continue
        same = one.shape == two.shape and one.ndim == 1 and one.dtype == np.int64
        if not same or set(zip(one[one != two], two[one != two], strict=True)) != {_TWO}:
            raise _fixed("constants that depend on it otherwise")
        found[tensor.name] = [None if a != b else int(a) for a, b in zip(one, two, strict=True)]
    return found


def _place(
    node: onnx.NodeProto,
    name: str,
    lengths: list[int | None],
    made: dict[str, onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
) -> str:
    """Return the name of a list of lengths, the number of classes among them."""
    # A reshape finds one length by itself, and with constants the runtime plans ahead.
    if node.op_type == "Reshape" and lengths.count(None) == 1 and not {0, -1} & set(lengths):
        free = f"{name}_free"
        numbers = np.array([-1 if length is None else length for length in lengths], np.int64)
        constants[free] = numpy_helper.from_array(numbers, free)
        return free
    parts = []
    for i, length in enumerate(lengths):
        part = "classes" if length is None else f"{name}_{i}"
        if length is not None:
            constants[part] = numpy_helper.from_array(np.array([length], np.int64), part)
        parts.append(part)
    joined = f"{name}_joined"
    made[joined] = helper.make_node("Concat", parts, [joined], name=joined, axis=0)
    return joined


def _fixed(found: str) -> ConversionError:
    return ConversionError(
        f"expected a tail that takes any number of classes, found {found}. Use x.shape[1] or -1 in place of the number "
        f"of classes behind the head, or cut elsewhere."
    )
