"""Look into a TFLite file, without the flatbuffers package, for what LiteRT does not survive.

A bundle is untrusted. LiteRT checks that a file is a flatbuffer, and ends the whole process all the same when an
operator leaves out an input that it needs, or when a quantized tensor has a scale or zero point that cannot be (both
found by fuzzing LiteRT 2.3.0). A file may also take weights from other files, and a graph may call itself. Such a model
is refused before LiteRT sees it. What this does not find is a model that takes for ever, or a fault in one operator.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

from ..errors import BackendError
from ..manifest import MAX_ELEMENTS

# Slots of the tables' fields, in the order of TensorFlow Lite's schema.
_CODES, _GRAPHS, _BUFFERS, _EXTERNAL_GROUPS, _EXTERNAL_BUFFERS = 1, 2, 4, 8, 9
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_KIND, _TAKES, _GIVES, _BIG_OPTIONS = 0, 1, 2, 9
_SHAPE, _TYPE, _BUFFER, _QUANTIZATION, _IS_VARIABLE, _EXTERNAL_BUFFER = 0, 1, 2, 4, 5, 10
_SCALE, _ZERO_POINT = 2, 3
_DATA, _DATA_OFFSET, _DATA_SIZE = 0, 1, 2
_OLD_CODE, _NEW_CODE = 0, 3
# Custom, Call, If, While, Call_once, StableHLO_custom_call, StableHLO_while, StableHLO_composite: code from elsewhere.
_REFUSED = {32, 31, 118, 119, 129, 173, 200, 206}
# LiteRT asks for its third input, present or absent, without counting.
_DEPTHWISE = 4
# Range of the zero point by type: uint8, int16, int8.
_ZERO_POINTS = {3: (0, 255), 7: (-(2**15), 2**15 - 1), 9: (-128, 127)}
_LEAST_NORMAL = 2.0**-126
# An operator's first inputs are what it works on; behind them may stand a bias or a state, which may be left out.
_NEEDED, _ABSENT = 2, -1


def refuse_unsound_model(content: bytes) -> None:
    """Refuse a TFLite file that would end the process, or that reaches outside of itself.

    Args:
        content: The file.

    Raises:
        BackendError: If it is such a file, or no TFLite file at all.
    """
    try:
        _check_model(memoryview(content))
    except (struct.error, ValueError) as error:
        raise BackendError(
            f"expected a sound TFLite file, found that {error}. Such a bundle is not opened: convert the model again."
        ) from error


def _check_model(view: memoryview) -> None:
    if bytes(view[4:8]) != b"TFL3":
        raise ValueError("it does not begin as one")
    model = _follow(view, 0)
    if _list(view, model, _EXTERNAL_GROUPS) or _list(view, model, _EXTERNAL_BUFFERS):
        raise ValueError("it takes weights from other files")
    filled: list[bool] = []
    for buffer in _tables(view, model, _BUFFERS):
        # A buffer's data is part of it, or lies behind the flatbuffer in the same file.
        size = _scalar(view, buffer, _DATA_SIZE, "<Q", 0)
        if _scalar(view, buffer, _DATA_OFFSET, "<Q", 0) + size > len(view):
            raise ValueError("its weights go on behind its end")
        filled.append(size > 0 or len(_list(view, buffer, _DATA)) > 0)
    kinds: list[int] = []
    for code in _tables(view, model, _CODES):
        kinds.append(max(_scalar(view, code, _OLD_CODE, "<b", 0), _scalar(view, code, _NEW_CODE, "<i", 0)))
        if kinds[-1] in _REFUSED:
            raise ValueError(f"its operator {kinds[-1]} calls code outside of the graph")
    graphs = list(_tables(view, model, _GRAPHS))
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs instead of one")
    _check_graph(view, graphs[0], kinds, filled)


def _check_graph(view: memoryview, graph: int, kinds: list[int], filled: list[bool]) -> None:
    tensors = list(_tables(view, graph, _TENSORS))
    known: set[int] = set()
    for i, tensor in enumerate(tensors):
        _check_tensor(view, tensor)
        buffer = _scalar(view, tensor, _BUFFER, "<I", 0)
        shape = _numbers(view, tensor, _SHAPE, "i")
        if any(axis < 0 for axis in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"a tensor has the shape {shape[:8]}")
        constant = (buffer < len(filled) and filled[buffer]) or 0 in shape
        if constant or _scalar(view, tensor, _IS_VARIABLE, "<b", 0):
            known.add(i)
    inputs, outputs = _numbers(view, graph, _INPUTS, "i"), _numbers(view, graph, _OUTPUTS, "i")
    if not all(0 <= i < len(tensors) for i in inputs):
        raise ValueError("its input is not one of its tensors")
    known.update(inputs)
    for operator in _tables(view, graph, _OPERATORS):
        kind = _scalar(view, operator, _KIND, "<I", 0)
        if kind >= len(kinds) or _scalar(view, operator, _BIG_OPTIONS, "<Q", 0) > 1:
            raise ValueError("an operator is not in its list of operators")
        takes = _numbers(view, operator, _TAKES, "i")
        if kinds[kind] == _DEPTHWISE and len(takes) < 3:
            raise ValueError("a depthwise convolution has no place for its bias")
        for place, i in enumerate(takes):
            if i not in known and (i != _ABSENT or place < _NEEDED):
                raise ValueError("an operator takes a tensor that nothing has made")
        for i in _numbers(view, operator, _GIVES, "i"):
            if not 0 <= i < len(tensors) or i in known:
                raise ValueError("an operator gives a tensor that is there already, or cannot be")
            known.add(i)
    if not set(outputs) <= known:
        raise ValueError("its output is made by no operator")


def _check_tensor(view: memoryview, tensor: int) -> None:
    if _scalar(view, tensor, _EXTERNAL_BUFFER, "<I", 0):
        raise ValueError("a tensor takes its values from another file")
    allowed = _ZERO_POINTS.get(_scalar(view, tensor, _TYPE, "<b", 0))
    place = _field(view, tensor, _QUANTIZATION)
    if allowed is None or place is None:
        return
    quantization = _follow(view, place)
    for scale in _numbers(view, quantization, _SCALE, "f"):
        if not math.isfinite(scale) or scale < _LEAST_NORMAL:
            raise ValueError(f"a quantized tensor has the scale {scale:g}")
    for zero_point in _numbers(view, quantization, _ZERO_POINT, "q"):
        if not allowed[0] <= zero_point <= allowed[1]:
            raise ValueError(f"a quantized tensor has the zero point {zero_point}")


def _read(view: memoryview, at: int, form: str) -> tuple[Any, ...]:
    if at < 0:
        raise ValueError("it points in front of its beginning")
    return struct.unpack_from(form, view, at)


def _follow(view: memoryview, at: int) -> int:
    """Return where the offset at a place points to."""
    (offset,) = _read(view, at, "<I")
    return at + int(offset)


def _field(view: memoryview, table: int, slot: int) -> int | None:
    """Return where a table's field lies, or None if the table leaves it out."""
    (back,) = _read(view, table, "<i")
    (size,) = _read(view, table - back, "<H")
    if 4 + 2 * slot >= size:
        return None
    (offset,) = _read(view, table - back + 4 + 2 * slot, "<H")
    return table + int(offset) if offset else None


def _scalar(view: memoryview, table: int, slot: int, form: str, default: int) -> int:
    place = _field(view, table, slot)
    return default if place is None else int(_read(view, place, form)[0])


def _list(view: memoryview, table: int, slot: int) -> range:
    """Return the places of a list's entries, as if each took one byte."""
    place = _field(view, table, slot)
    if place is None:
        return range(0)
    start = _follow(view, place)
    (length,) = _read(view, start, "<I")
    if start + 4 + length > len(view):
        raise ValueError("a list goes on behind its end")
    return range(start + 4, start + 4 + length)


def _numbers(view: memoryview, table: int, slot: int, form: str) -> tuple[Any, ...]:
    """Return a list of numbers of one type (``"i"`` int32, ``"q"`` int64, ``"f"`` float32)."""
    entries = _list(view, table, slot)
    return _read(view, entries.start, f"<{len(entries)}{form}") if entries else ()


def _tables(view: memoryview, table: int, slot: int) -> Iterator[int]:
    entries = _list(view, table, slot)
    for i in range(len(entries)):
        yield _follow(view, entries.start + 4 * i)
