"""Protocol buffers on the wire: read what nobody vouches for, write what a schema would have written.

A message is a sequence of fields, each a number, how its value is coded, and the value. What a field means, the reader
of the message knows.
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | memoryview
_MAX_TAG = 2**32 - 1


def fields(message: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Read the fields of a message in their order, without looking into them.

    Args:
        message: The message. What is yielded are views into it.

    Yields:
        Number of the field; how it is coded: `VARINT`, `FIXED64`, `BYTES` or `FIXED32`; its value, an unsigned number
        for `VARINT` and else the bytes, none of them beyond the end of the message.

    Raises:
        ValueError: If it is no message; what is wrong, as the end of a sentence that begins with "found that".
    """
    at, end = 0, len(message)
    while at < end:
        # Most tags and lengths take one byte: read here, since a model has tens of thousands.
        tag = message[at]
        tag, at = (tag, at + 1) if tag < 0x80 else _varint(message, at)
        number, wire = tag >> 3, tag & 7
        # Protocol buffers drop the higher bits of a longer tag, which would hide a field from whoever looks for it.
        if not number or tag > _MAX_TAG:
            raise ValueError(f"byte {at:,} follows a field that cannot be")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"byte {at:,} is no part of a protocol buffer")
        if size > end - at:
            raise ValueError(f"it ends in the middle of a field at byte {at:,}")
        yield number, wire, message[at : at + size]
        at += size


def messages(message: memoryview, number: int) -> list[memoryview]:
    """Return the messages, texts or bytes that the fields of a number hold.

    Raises:
        ValueError: If one of them holds something else.
    """
    found = [(wire, value) for i, wire, value in fields(message) if i == number]
    views = [value for wire, value in found if wire == BYTES and not isinstance(value, int)]
    if len(views) < len(found):
        raise ValueError(f"its field {number} holds a number where something else belongs")
    return views


def numbers(message: memoryview, number: int) -> list[int]:
    """Return the unsigned numbers that the fields of a number hold.

    Raises:
        ValueError: If one of them holds something else.
    """
    found = [value for i, _, value in fields(message) if i == number]
    plain = [value for value in found if isinstance(value, int)]
    if len(plain) < len(found):
        raise ValueError(f"its field {number} holds something else where a number belongs")
    return plain


def pieces(number: int, wire: int, value: Value) -> tuple[bytes | memoryview, ...]:
    """Return a field that `fields` gave, in parts that follow each other; its bytes are not copied."""
    if isinstance(value, int):
        return (number_field(number, value),)
    length = varint(len(value)) if wire == BYTES else b""
    return varint(number << 3 | wire) + length, value


def varint(number: int) -> bytes:
    """Return an unsigned number as a message holds it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    """Return a field that holds an unsigned number."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_head(number: int, size: int) -> bytes:
    """Return what stands in front of the bytes or the message in a field, of a size in bytes."""
    return varint(number << 3 | BYTES) + varint(size)


def bytes_field(number: int, *parts: bytes | memoryview) -> bytes:
    """Return a field that holds bytes or a message, given in parts that follow each other."""
    return b"".join((bytes_head(number, sum(map(len, parts))), *parts))


def text_field(number: int, text: str) -> bytes:
    """Return a field that holds text."""
    return bytes_field(number, text.encode())


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    end = len(view)
    while True:
        if at == end:
            raise ValueError("it ends in the middle of a number")
        byte = view[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")
