"""An ONNX model that goes on where it ended, without the onnx package.

Only the outermost messages are read, as far as one must know them to append to them; every other byte is handed on as
it stands. Field numbers are those of onnx.proto.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..._version import __version__
from ...errors import BackendError
from ...record import record
from ..runtime.protobuf import (
    Value,
    bytes_field,
    bytes_head,
    fields,
    messages,
    number_field,
    numbers,
    pieces,
    text_field,
)

Float32 = NDArray[np.float32]
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, GRAPH, _OPERATOR_SETS, _METADATA = 1, 2, 3, 7, 8, 14
NODE, INITIALIZER, _OUTPUT = 1, 5, 12
_FLOAT, _INT = 1, 2
# What a backbone calls its second output, where it has one.
MAP = "map"
# Below version 4, constants count as inputs; below operator set 8, Min and Max do not broadcast.
_LEAST_IR, _LEAST_OPERATORS = 4, 8
_OURS = "acclimate."
_MOST_TRIES = 8


@record()
class OpenGraph:
    """An ONNX model without its outputs, so that more can follow.

    Args:
        content: The whole file.
        model: Its fields but the graph, and but what says who wrote it, in pieces.
        graph: The graph's fields but the output, in pieces.
        output: Name of the output.
        batch: The output's first axis, a ``Dimension`` message: free, with the name that it has in the model.
        width: Length of the output's second axis, or None if the model leaves it open.
        operators: Version of ONNX's own operators that it uses.
        map: Name of the second output, where there is one.
    """

    content: bytes
    model: tuple[bytes | memoryview, ...]
    graph: tuple[bytes | memoryview, ...]
    output: str
    batch: memoryview
    width: int | None
    operators: int
    map: str | None = None

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Open a model whose output is ``(n, d) float32`` with a free batch axis; a map may be the second one.

        Raises:
            BackendError: If it is no such model, or none at all.
        """
        try:
            return cls._read(content)
        except ValueError as error:
            raise BackendError(
                f"expected an ONNX backbone with one output (n, d) float32, found that {error}. "
                f"Convert the model again."
            ) from error

    def fresh(self, name: str) -> str:
        """Return a name that nothing in the model has: this one, or one that begins with it.

        Raises:
            BackendError: If the model has every such name that is tried.
        """
        for tail in range(_MOST_TRIES):
            free = name + "_" * tail
            # Whatever branch of the graph it is used in, a name stands in the file behind its length.
            if text_field(1, free)[1:] not in self.content:
                return free
        raise BackendError(f"expected a backbone without names like {name!r}, found {free!r}. Convert the model again.")

    def prefix(self, name: str) -> str:
        """Return what no name in the model begins with: this, with a ``/`` behind it, or something longer.

        Raises:
            BackendError: If there is a name with every such beginning that is tried.
        """
        for tail in range(_MOST_TRIES):
            free = f"{name}{'_' * tail}/"
            if free.encode() not in self.content:
                return free
        raise BackendError(f"expected a backbone without names like {free!r}, found some. Convert the model again.")

    def close(
        self,
        nodes: Sequence[bytes],
        constants: Mapping[str, Float32],
        outputs: Mapping[str, int],
        metadata: Mapping[str, str],
        more_constants: Sequence[bytes] = (),
    ) -> bytes:
        """Return the model with more behind it.

        Args:
            nodes: What follows, in the order in which it runs (`node`).
            constants: Name to value.
            outputs: Names of the outputs ``(n, width) float32`` to their width.
            metadata: Texts that travel with the file, by a name that gets ``"acclimate."`` in front.
            more_constants: Constants that are messages already.
        """
        graph = [
            *self.graph,
            *(bytes_field(NODE, one) for one in nodes),
            *(bytes_field(INITIALIZER, _tensor(name, array)) for name, array in constants.items()),
            *(bytes_field(INITIALIZER, one) for one in more_constants),
            *(bytes_field(_OUTPUT, self._value(name, width)) for name, width in outputs.items()),
        ]
        entries = [
            bytes_field(_METADATA, text_field(1, _OURS + key), text_field(2, text)) for key, text in metadata.items()
        ]
        writer = text_field(_PRODUCER, "acclimate"), text_field(_PRODUCER_VERSION, __version__)
        return b"".join((*self.model, *writer, *entries, bytes_head(GRAPH, sum(map(len, graph))), *graph))

    @classmethod
    def _read(cls, content: bytes) -> Self:
        model = memoryview(content)
        version, operators = _number(model, _IR_VERSION), operator_set(model)
        if version < _LEAST_IR or operators < _LEAST_OPERATORS:
            raise ValueError(
                f"it has version {version} and operator set {operators}, older than {_LEAST_IR} or {_LEAST_OPERATORS}"
            )
        graph = _only(model, GRAPH)
        outputs = messages(graph, _OUTPUT)
        names = [text_of(_only(output, 1)) for output in outputs]
        if len(outputs) != 1 and names[1:] != [MAP]:
            raise ValueError(f"field {_OUTPUT} stands {len(outputs)} times where it belongs once")
        tensor = _only(outputs[0], 2, 1)
        kind, axes = _number(tensor, 1), messages(_only(tensor, 2), 1)
        sizes = [_number(axis, 1) if numbers(axis, 1) else None for axis in axes]
        if kind != _FLOAT or len(axes) != 2 or sizes[0] is not None:
            shape = ", ".join("n" if size is None else str(size) for size in sizes[:8])
            raise ValueError(f"it has one of shape ({shape}) and element type {kind}")
        return cls(
            content,
            tuple(piece for field in fields(model) if _stays(*field) for piece in pieces(*field)),
            tuple(piece for field in fields(graph) if field[0] != _OUTPUT for piece in pieces(*field)),
            names[0],
            axes[0],
            sizes[1],
            operators,
            names[1] if len(names) == 2 else None,
        )

    def _value(self, name: str, width: int) -> bytes:
        shape = bytes_field(1, self.batch) + bytes_field(1, number_field(1, width))
        tensor = number_field(1, _FLOAT) + bytes_field(2, shape)
        return text_field(1, name) + bytes_field(2, bytes_field(1, tensor))


def node(operator: str, inputs: Sequence[str], output: str, **whole_numbers: int) -> bytes:
    """Return a node with one output, named as that, and attributes that are whole numbers."""
    names = [text_field(1, name) for name in inputs]
    attributes = [
        bytes_field(5, text_field(1, name), number_field(3, value), number_field(20, _INT))
        for name, value in whole_numbers.items()
    ]
    return b"".join((*names, text_field(2, output), text_field(3, output), text_field(4, operator), *attributes))


def _tensor(name: str, array: Float32) -> bytes:
    axes = b"".join(number_field(1, axis) for axis in array.shape)
    values = np.ascontiguousarray(array, "<f4").tobytes()
    return axes + number_field(2, _FLOAT) + text_field(8, name) + bytes_field(9, values)


def _stays(number: int, wire: int, value: Value) -> bool:
    if number == _METADATA and isinstance(value, memoryview):
        return not any(text_of(key).startswith(_OURS) for key in messages(value, 1))
    return number not in (_PRODUCER, _PRODUCER_VERSION, GRAPH)


def operator_set(model: memoryview) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    for entry in messages(model, _OPERATOR_SETS):
        if [text_of(name) for name in messages(entry, 1)] in ([], [""], ["ai.onnx"]):
            return _number(entry, 2)
    return 0


def _only(message: memoryview, *path: int) -> memoryview:
    """Follow fields of which there must be one each."""
    for number in path:
        found = messages(message, number)
        if len(found) != 1:
            raise ValueError(f"field {number} stands {len(found)} times where it belongs once")
        message = found[0]
    return message


def _number(message: memoryview, number: int) -> int:
    found = numbers(message, number)
    if len(found) != 1:
        raise ValueError(f"field {number} stands {len(found)} times where it belongs once")
    return found[0]


def text_of(content: memoryview) -> str:
    """Return a text as a message holds it."""
    return str(content, "utf-8")
