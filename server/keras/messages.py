"""What the two processes say to each other: a header of JSON after its length, then the bytes of its arrays."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TrainingError

_LENGTH = struct.Struct("<I")
_MOST_HEADER = 2**24
_MOST_BYTES = 2**35
_MOST_AXES = 16
_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
_TYPES = ("bool", *_WHOLE, "float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Message:
    """Something said.

    Args:
        kind: What is asked for, or answered.
        values: JSON values.
        arrays: Arrays of numbers by name, of the types that numpy and safetensors share.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write a message and flush the stream.

    Raises:
        OSError: If nobody reads any longer.
        ValueError: If a value is no JSON, or the header too long.
    """
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in message.arrays.items()}
    told = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"kind": message.kind, "values": dict(message.values), "arrays": told}).encode()
    if len(header) > _MOST_HEADER:
        raise ValueError(f"expected a header of at most {_MOST_HEADER:,} bytes, found {len(header):,}.")
    stream.write(_LENGTH.pack(len(header)) + header)
    for array in arrays.values():
        stream.write(_bytes_of(array))
    stream.flush()


def read_message(stream: IO[bytes]) -> Message:
    """Read the next message.

    Raises:
        EOFError: If the other side has ended.
        TrainingError: If it is none of ours: something else wrote to the pipe.
    """
    head = bytearray(_LENGTH.size)
    _fill(stream, memoryview(head))
    length = _LENGTH.unpack(head)[0]
    if length > _MOST_HEADER:
        raise _foreign(f"a header of {length:,} bytes")
    header = bytearray(length)
    _fill(stream, memoryview(header))
    try:
        found = json.loads(header)
        kind, values, told = found["kind"], found["values"], found["arrays"]
        arrays = {name: _empty(dtype, shape) for name, dtype, shape in told} if _bounded(told) else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _foreign(type(error).__name__) from error
    if arrays is None or not isinstance(kind, str) or not isinstance(values, dict):
        raise _foreign(f"{kind!r:.60}")
    for array in arrays.values():
        _fill(stream, _bytes_of(array))
    return Message(kind, values, arrays)


def _bounded(told: list[Any]) -> bool:
    """Whether arrays are of known types, and few enough bytes to make room for."""
    total = 0
    for name, dtype, shape in told:
        axes = isinstance(shape, list) and len(shape) <= _MOST_AXES
        if not isinstance(name, str) or dtype not in _TYPES or not axes:
            return False
        size = np.dtype(dtype).itemsize
        for axis in shape:
            if type(axis) is not int or axis < 0:
                return False
            size *= axis
        total += size
    return total <= _MOST_BYTES


def _empty(dtype: str, shape: list[int]) -> NDArray[Any]:
    return np.empty(tuple(shape), np.dtype(dtype))


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(bytearray())


def _fill(stream: IO[bytes], room: memoryview) -> None:
    done = 0
    while done < len(room):
        count = stream.readinto(room[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the other process has ended")
        done += count


def _foreign(found: str) -> TrainingError:
    return TrainingError(
        f"expected a message between the processes that train a Keras model, found {found}. Use the same version of "
        f"Acclimate for both."
    )
