"""What the two processes that train a Keras model say to each other, and what is refused of it."""

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="acclimate[server] is not installed")

from acclimate.errors import TrainingError
from acclimate.server.keras.messages import Message, read_message, write_message

pytestmark = pytest.mark.needs_torch


def written(header: Any, rest: bytes = b"") -> io.BytesIO:
    text = json.dumps(header).encode()
    return io.BytesIO(struct.pack("<I", len(text)) + text + rest)


def test_messages_come_back_as_they_were() -> None:
    """Values, and arrays of every kind: of no axis, of no element, turned, of small and large numbers."""
    arrays: dict[str, NDArray[Any]] = {
        "image": np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32).transpose(2, 0, 1),
        "one": np.array(7, np.int64),
        "none": np.zeros((0, 5), np.float16),
        "seeds": np.array([1, 2**32 - 1], np.uint32),
        "flags": np.array([True, False]),
    }
    stream = io.BytesIO()
    write_message(stream, Message("a", {"x": [1, 2.5, "ü"], "loss": float("inf")}, arrays))
    write_message(stream, Message("b"))
    stream.seek(0)
    first, second = read_message(stream), read_message(stream)
    assert (first.kind, dict(first.values)) == ("a", {"x": [1, 2.5, "ü"], "loss": float("inf")})
    assert first.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert first.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(first.arrays[name], array)
    assert (second.kind, second.values, second.arrays) == ("b", {}, {})
    with pytest.raises(EOFError):
        read_message(stream)


@pytest.mark.parametrize(
    "told",
    [
        [["x", "object", [1]]],
        [["x", "<U9999", [1]]],
        [["x", "float32", [-1]]],
        [["x", "float32", [2**20, 2**20]]],
        [["x", "float32", [2**40, 0], [1]]],
        [["x", "float32", [True]]],
        [["x", "float32", [1] * 40]],
        [[3, "float32", [1]]],
        "x",
    ],
)
def test_arrays_that_could_not_be_are_refused(told: Any) -> None:
    """Objects, texts, shapes below zero or without end: before any room is made for them."""
    with pytest.raises(TrainingError, match="expected a message between the processes"):
        read_message(written({"kind": "a", "values": {}, "arrays": told}))


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(b"Hello, world"),
        written([]),
        written({"kind": 1, "values": {}, "arrays": []}),
        written({"kind": "a", "values": [], "arrays": []}),
        io.BytesIO(struct.pack("<I", 2) + b"\xff\xff"),
    ],
)
def test_what_is_no_message_is_refused(stream: io.BytesIO) -> None:
    """Something printed into the pipe, JSON of another form, no JSON."""
    with pytest.raises(TrainingError, match="Use the same version of Acclimate"):
        read_message(stream)


def test_half_a_message_is_the_end() -> None:
    """A process that dies while it speaks."""
    stream = io.BytesIO()
    write_message(stream, Message("a", {}, {"x": np.ones(9)}))
    with pytest.raises(EOFError):
        read_message(io.BytesIO(stream.getvalue()[:-1]))
