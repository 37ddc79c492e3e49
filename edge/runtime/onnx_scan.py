"""Look into an ONNX file, without the onnx package, for tensors that point outside of it.

ONNX lets a tensor name a file that holds its data. A bundle is untrusted: a path in it could read any file of the
device, so such a model is refused before ONNX Runtime sees it.
"""

from collections.abc import Iterator

from ...errors import BackendError
from .protobuf import BYTES, fields

_MAX_DEPTH = 64
# A few dozen times what a backbone of a thousand layers has; read in about a second.
_MAX_FIELDS = 2**20
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
# Under this key a tensor names its file (ONNX, "External Data"): without the word in it, no file reaches outside.
EXTERNAL_KEY = b"location"


def refuse_external_data(content: bytes) -> None:
    """Refuse an ONNX file with a tensor whose data lies outside of it.

    Raises:
        BackendError: If there is one, or if the file is not a protocol buffer.
    """
    try:
        _walk(memoryview(content), "model", 0, iter(range(_MAX_FIELDS)))
    except ValueError as error:
        raise BackendError(f"expected an ONNX file, found that {error}. Convert the model again.") from error


def _walk(view: memoryview, kind: str, depth: int, budget: Iterator[int]) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs are nested deeper than {_MAX_DEPTH}")
    holds = _HOLDS[kind]
    for number, wire, value in fields(view):
        if next(budget, None) is None:
            raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            raise BackendError(
                "expected every tensor inside the ONNX file, found one that names an external file. "
                "Such a bundle is not opened: convert the model again without external data."
            )
        if number in holds and wire == BYTES:
            _walk(value, holds[number], depth + 1, budget)  # type: ignore[arg-type]  # behind a length there is a view
