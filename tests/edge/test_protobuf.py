"""The wire format: what is written is read, what is no message is refused, and Google's reader agrees."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acclimate.edge.runtime.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    bytes_field,
    fields,
    messages,
    number_field,
    numbers,
    pieces,
    text_field,
    varint,
)

NUMBERS = st.integers(1, 2**29 - 1)


@st.composite
def field(draw: st.DrawFn) -> tuple[int, int, int | bytes]:
    """Draw a field."""
    wire = draw(st.sampled_from([VARINT, BYTES, FIXED32, FIXED64]))
    sizes = {BYTES: draw(st.integers(0, 300)), FIXED32: 4, FIXED64: 8}
    value = draw(st.integers(0, 2**64 - 1)) if wire == VARINT else bytes(sizes[wire])
    return draw(NUMBERS), wire, value


@given(st.lists(field(), max_size=8))
def test_what_is_written_is_read(written: list[tuple[int, int, int | bytes]]) -> None:
    """Any sequence of fields comes back in its order, and `pieces` makes the same bytes of it again."""
    message = b"".join(
        b"".join(pieces(number, wire, value if isinstance(value, int) else memoryview(value)))
        for number, wire, value in written
    )
    found = [
        (number, wire, value if isinstance(value, int) else bytes(value))
        for number, wire, value in fields(memoryview(message))
    ]
    assert found == written
    assert b"".join(piece for field in fields(memoryview(message)) for piece in pieces(*field)) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_refused(content: bytes) -> None:
    """Nothing but ValueError, and no value beyond the end; what is read adds up to the whole."""
    try:
        found = list(fields(memoryview(content)))
    except ValueError:
        return
    rewritten = sum(len(piece) for field in found for piece in pieces(*field))
    # Numbers may be spelt longer than they need be.
    assert rewritten <= len(content)
    assert sum(len(value) for _, _, value in found if not isinstance(value, int)) <= len(content)


def test_the_writer_agrees_with_google(onnx_by_hand: ModuleType) -> None:
    """The onnx package reads what is written here, and writes the same bytes; so does the writer of the tests."""
    onnx = pytest.importorskip("onnx", reason="onnx, the oracle, is not installed")
    for key, value in (("a", "b"), ("", ""), ("öl", "x" * 300)):
        ours = text_field(1, key) + text_field(2, value)
        assert onnx.StringStringEntryProto(key=key, value=value).SerializeToString() == ours
        assert onnx_by_hand.field(1, key) + onnx_by_hand.field(2, value) == ours
    for number in (0, 1, 127, 128, 300, 2**31, 2**63 - 1):
        ours = bytes_field(8, text_field(1, ""), number_field(2, number))
        model = onnx.ModelProto(opset_import=[onnx.OperatorSetIdProto(domain="", version=number)])
        assert model.SerializeToString() == ours
        assert numbers(messages(memoryview(ours), 8)[0], 2) == [number]


def test_values_are_views_and_not_copies() -> None:
    """A file of many megabytes is read without taking as many again."""
    content = bytearray(bytes_field(1, b"weights"))
    ((_, _, value),) = fields(memoryview(content))
    content[-1:] = b"S"
    assert not isinstance(value, int)
    assert bytes(value) == b"weightS"


def test_fields_of_a_number() -> None:
    """Those of one number and kind, in their order; one of another kind is refused."""
    message = memoryview(number_field(3, 7) + bytes_field(4, b"a") + number_field(3, 8) + bytes_field(4))
    assert numbers(message, 3) == [7, 8]
    assert [bytes(value) for value in messages(message, 4)] == [b"a", b""]
    assert numbers(message, 5) == []
    assert messages(message, 5) == []
    with pytest.raises(ValueError, match="its field 3 holds a number where something else belongs"):
        messages(message, 3)
    fixed = memoryview(varint(4 << 3 | FIXED32) + bytes(4))
    for wrong in (message, fixed):
        with pytest.raises(ValueError, match="its field 4 holds something else where a number belongs"):
            numbers(wrong, 4)
    with pytest.raises(ValueError, match="its field 4 holds a number where something else belongs"):
        messages(fixed, 4)
