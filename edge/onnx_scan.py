"""Look into an ONNX file, without the onnx package, for tensors that point outside of it.

ONNX lets a tensor name a file that holds its data. A bundle is untrusted: a path in it could read any file of the
device, so such a model is refused before ONNX Runtime sees it.
"""

from collections.abc import Iterator

from ..errors import BackendError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64
# Field numbers of messages that can hold tensors, by message type: field -> type of what it holds.
_HOLDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "function": {7: "node", 11: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_TAG = 2**32 - 1


def refuse_external_data(content: bytes) -> None:
    """Refuse an ONNX file with a tensor whose data lies outside of it.

    Raises:
        BackendError: If there is one, or if the file is not a protocol buffer.
    """
    try:
        _walk(memoryview(content), "model", 0)
    except ValueError as error:
        raise BackendError(f"expected an ONNX file, found that {error}. Convert the model again.") from error


def _walk(view: memoryview, kind: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs are nested deeper than {_MAX_DEPTH}")
    holds = _HOLDS[kind]
    for number, wire, value in _fields(view):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            raise BackendError(
                "expected every tensor inside the ONNX file, found one that names an external file. "
                "Such a bundle is not opened: convert the model again without external data."
            )
        if number in holds and wire == _BYTES:
            _walk(value, holds[number], depth + 1)  # type: ignore[arg-type]  # a length-delimited field is a view


def _fields(view: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        # Protocol buffers drop the higher bits of a longer tag, which would hide a field from this scan.
        if not number or tag > _MAX_TAG:
            raise ValueError(f"byte {at:,} follows a field that cannot be")
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(view, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"byte {at:,} is no part of a protocol buffer")
        if at + size > len(view):
            raise ValueError(f"it ends in the middle of a field at byte {at:,}")
        yield number, wire, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at == len(view):
            raise ValueError("it ends in the middle of a number")
        byte = view[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")
