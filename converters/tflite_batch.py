"""Let the batch size of a TFLite file be changed.

The converter writes a file for the batch of its example and holds that size in constants: the shape of a reshape, the
length of a slice. A runtime that resizes the input leaves those as they are, and the file fails or, worse, computes
something else: where a batch of 1 was folded into another axis, layer normalisation averages over the whole batch. So
the example's batch is a prime that divides no other axis. Wherever it turns up afterwards, the batch is meant, and the
constant can say "whatever comes" instead.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .quantization.tflite_graph import kind, read_model, write_model
from .tflite_constants import fold_constants, share_constants
from .tflite_edit import constant, drop_unused, replace_constant, shape_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_OPERATOR = schema.BuiltinOperator
_PRIMES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


def telling_batch(module: "nn.Module", example: "Tensor") -> int:
    """Choose a batch size that is recognised in a converted file.

    Args:
        module: What will be converted.
        example: ``(n, ...)`` raw input, at least two samples.

    Returns:
        A prime that divides no axis of a parameter, buffer or activation.
    """
    from .splitting.trace import trace

    leaves = trace(module, example).root.leaves()
    signals = [signal for leaf in leaves for signal in (leaf.input, leaf.output) if signal is not None]
    shapes = [tuple(signal.shape[1:]) for signal in signals]
    shapes += [tuple(tensor.shape) for tensor in module.state_dict().values()]
    axes = {axis for shape in shapes for axis in shape}
    return next((prime for prime in _PRIMES if all(axis % prime for axis in axes)), _PRIMES[-1])


def repeat_to(example: "Tensor", batch: int) -> "Tensor":
    """Repeat samples ``(n, ...)`` until there are as many as the batch asks for."""
    return example[[i % len(example) for i in range(batch)]]


def free_batch(content: bytes, batch: int) -> bytes:
    """Free a file from the batch size that it was exported with.

    Args:
        content: A TFLite file.
        batch: The batch size, from `telling_batch`.

    Returns:
        The file for a batch of 1, which may be resized.
    """
    model = read_model(content)
    fold_constants(model)
    share_constants(model, batch)
    for graph in model.subgraphs:
        for operator in graph.operators:
            which = kind(model, operator)
            if which == _OPERATOR.RESHAPE:
                _free_reshape(model, graph, operator, batch)
            elif which == _OPERATOR.SLICE:
                _free_slice(model, graph, operator, batch)
            elif which == _OPERATOR.STRIDED_SLICE:
                _free_strided_slice(model, graph, operator, batch)
        for tensor in graph.tensors:
            if model.buffers[tensor.buffer].data is None and tensor.shape is not None:
                shape = [int(axis) for axis in tensor.shape]
                tensor.shapeSignature = [-1 if axis and axis % batch == 0 else axis for axis in shape]
                tensor.shape = [axis // batch if axis % batch == 0 else axis for axis in shape]
    drop_unused(model)
    return write_model(model)


def _free_reshape(model: Any, graph: Any, operator: Any, batch: int) -> None:
    wanted = constant(model, graph, operator, 1)
    if wanted is None or (wanted % batch == 0).sum() != 1 or (wanted <= 0).any():
        return
    wanted[wanted % batch == 0] = -1
    replace_constant(model, graph, operator, 1, wanted)
    # The shape also stands in the options, which older runtimes prefer.
    operator.builtinOptions = None
    operator.builtinOptionsType = 0


def _free_slice(model: Any, graph: Any, operator: Any, batch: int) -> None:
    begin, size = constant(model, graph, operator, 1), constant(model, graph, operator, 2)
    if begin is not None and size is not None:
        whole = np.array(shape_of(graph.tensors[operator.inputs[0]]))
        size[(begin == 0) & (size == whole) & (size % batch == 0)] = -1
        replace_constant(model, graph, operator, 2, size)


def _free_strided_slice(model: Any, graph: Any, operator: Any, batch: int) -> None:
    begin, end, options = (*(constant(model, graph, operator, i) for i in (1, 2)), operator.builtinOptions)
    if begin is None or end is None or options is None:
        return
    whole = np.array(shape_of(graph.tensors[operator.inputs[0]]))[: len(end)]
    for axis in np.flatnonzero((begin == 0) & (end == whole) & (end % batch == 0)):
        options.endMask |= 1 << int(axis)
