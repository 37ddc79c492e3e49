"""Look into a TFLite file, without the flatbuffers package, for what LiteRT does not survive.

A bundle is untrusted. LiteRT checks that a file is a flatbuffer, and ends the whole process all the same when an
operator leaves out an input that it needs, or when a quantized tensor has a scale or zero point that cannot be (both
found by fuzzing LiteRT 2.3.0). Its predecessor tflite-runtime 2.14 does not check for a flatbuffer and follows every
offset. A file may also take weights from other files, and a graph may call itself. Such a model is refused before the
runtime sees it. What this does not find is a model that takes for ever, or a fault in one operator.
"""

import math
from collections.abc import Collection

from ...errors import BackendError
from ...manifest import MAX_ELEMENTS
from .flatbuffer import check_table, entries, follow, numbers, scalar, tables, target
from .tflite_operators import NEEDED
from .tflite_schema import (
    DEPTHWISE_CONV_2D,
    FILE_IDENTIFIER,
    Buffer,
    Code,
    Graph,
    Metadata,
    Model,
    Operator,
    Signature,
    Tensor,
)

# Custom, Call, If, While, Call_once, StableHLO_custom_call, StableHLO_while, StableHLO_composite: code from elsewhere.
_REFUSED = {32, 31, 118, 119, 129, 173, 200, 206}
# Range of the zero point by type: uint8, int16, int8.
_ZERO_POINTS = {3: (0, 255), 7: (-(2**15), 2**15 - 1), 9: (-128, 127)}
_LEAST_NORMAL = 2.0**-126
# Resource and variant, which hold pointers; float32, int32 and bool.
_HANDLES, _PLAIN = {13, 14}, {0, 2, 6}
# An operator's first inputs are what it works on; behind them may stand a bias or a state, which may be left out.
_NEEDED, _ABSENT = 2, -1


def refuse_unsound_model(content: bytes, only: Collection[int] | None = None) -> None:
    """Refuse a TFLite file that would end the process, or that reaches outside of itself.

    Args:
        content: The file.
        only: The kinds of operators that it may have, on float32, int32 and bool; None for all that stay inside of the
            graph.

    Raises:
        BackendError: If it is such a file, or no TFLite file at all.
    """
    try:
        _check_model(memoryview(content), only)
    except ValueError as error:
        raise BackendError(
            f"expected a sound TFLite file, found that {error}. Such a bundle is not opened: convert the model again."
        ) from error


def _check_model(view: memoryview, only: Collection[int] | None) -> None:
    if bytes(view[4:8]) != FILE_IDENTIFIER:
        raise ValueError("it does not begin as one")
    model = follow(view, 0)
    if entries(view, model, Model.EXTERNAL_GROUPS) or entries(view, model, Model.EXTERNAL_BUFFERS):
        raise ValueError("it takes weights from other files")
    filled: list[bool] = []
    for buffer in tables(view, model, Model.BUFFERS):
        # 0 and 1 both stand for no place.
        if scalar(view, buffer, Buffer.OFFSET, "<Q", 0) > 1:
            raise ValueError("its weights lie outside of its flatbuffer")
        filled.append(len(entries(view, buffer, Buffer.DATA)) > 0)
    kinds: list[int] = []
    for code in tables(view, model, Model.CODES):
        kinds.append(max(scalar(view, code, Code.OLD, "<b", 0), scalar(view, code, Code.NEW, "<i", 0)))
        if kinds[-1] in _REFUSED:
            raise ValueError(f"its operator {kinds[-1]} calls code outside of the graph")
        if only is not None and kinds[-1] not in only:
            raise ValueError(f"its operator {kinds[-1]} is none of those that such files have")
    graphs = list(tables(view, model, Model.GRAPHS))
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs instead of one")
    _check_graph(view, graphs[0], kinds, filled, _PLAIN if only is not None else None)
    _check_names(view, model, len(filled))


def _check_graph(
    view: memoryview, graph: int, kinds: list[int], filled: list[bool], types: Collection[int] | None
) -> None:
    tensors = list(tables(view, graph, Graph.TENSORS))
    known: set[int] = set()
    for i, tensor in enumerate(tensors):
        _check_tensor(view, tensor, types)
        buffer = scalar(view, tensor, Tensor.BUFFER, "<I", 0)
        shape = numbers(view, tensor, Tensor.SHAPE, "i")
        if any(axis < 0 for axis in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"a tensor has the shape {shape[:8]}")
        # To LiteRT buffer 0 is empty, whatever is in it.
        constant = (0 < buffer < len(filled) and filled[buffer]) or 0 in shape
        if constant or scalar(view, tensor, Tensor.IS_VARIABLE, "<b", 0):
            known.add(i)
    inputs, outputs = numbers(view, graph, Graph.INPUTS, "i"), numbers(view, graph, Graph.OUTPUTS, "i")
    if not all(0 <= i < len(tensors) for i in inputs):
        raise ValueError("its input is not one of its tensors")
    known.update(inputs)
    for operator in tables(view, graph, Graph.OPERATORS):
        kind = scalar(view, operator, Operator.CODE, "<I", 0)
        if kind >= len(kinds) or scalar(view, operator, Operator.BIG_OPTIONS, "<Q", 0) > 1:
            raise ValueError("an operator is not in its list of operators")
        options = target(view, operator, Operator.OPTIONS)
        if options is not None:
            check_table(view, options)
        takes = numbers(view, operator, Operator.INPUTS, "i")
        if kinds[kind] == DEPTHWISE_CONV_2D and len(takes) < 3:
            raise ValueError("a depthwise convolution has no place for its bias")
        needed = NEEDED.get(kinds[kind], 0)
        if len(takes) < needed:
            raise ValueError("an operator takes fewer tensors than it needs")
        for place, i in enumerate(takes):
            if i not in known and (i != _ABSENT or place < max(needed, _NEEDED)):
                raise ValueError("an operator takes a tensor that nothing has made")
        for i in numbers(view, operator, Operator.OUTPUTS, "i"):
            if not 0 <= i < len(tensors) or i in known:
                raise ValueError("an operator gives a tensor that is there already, or cannot be")
            known.add(i)
    if not set(outputs) <= known:
        raise ValueError("its output is made by no operator")


def _check_names(view: memoryview, model: int, buffers: int) -> None:
    """Check what names buffers and tensors from outside of the graph."""
    for entry in tables(view, model, Model.METADATA):
        check_table(view, entry)
        entries(view, entry, Metadata.NAME)
        if scalar(view, entry, Metadata.BUFFER, "<I", 0) >= buffers:
            raise ValueError("it has metadata in a buffer that is not there")
    for signature in tables(view, model, Model.SIGNATURES):
        check_table(view, signature)
        entries(view, signature, Signature.KEY)
        for slot in (Signature.INPUTS, Signature.OUTPUTS):
            for entry in tables(view, signature, slot):
                check_table(view, entry)
                entries(view, entry, Signature.NAME)


def _check_tensor(view: memoryview, tensor: int, types: Collection[int] | None) -> None:
    kind = scalar(view, tensor, Tensor.TYPE, "<b", 0)
    if kind in _HANDLES or (types is not None and kind not in types):
        raise ValueError(f"a tensor is of type {kind}")
    if scalar(view, tensor, Tensor.EXTERNAL_BUFFER, "<I", 0):
        raise ValueError("a tensor takes its values from another file")
    allowed = _ZERO_POINTS.get(kind)
    quantization = target(view, tensor, Tensor.QUANTIZATION)
    entries(view, tensor, Tensor.NAME)
    if quantization is None:
        return
    check_table(view, quantization)
    scales = numbers(view, quantization, Tensor.SCALE, "f")
    zero_points = numbers(view, quantization, Tensor.ZERO_POINT, "q")
    if allowed is None:
        return
    for scale in scales:
        if not math.isfinite(scale) or scale < _LEAST_NORMAL:
            raise ValueError(f"a quantized tensor has the scale {scale:g}")
    for zero_point in zero_points:
        if not allowed[0] <= zero_point <= allowed[1]:
            raise ValueError(f"a quantized tensor has the zero point {zero_point}")
