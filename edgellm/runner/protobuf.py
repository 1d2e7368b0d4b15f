"""Reads and writes protobuf, of which a graph is made: the wire format, without any schema.

Source: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each field's number, its bytes as they stand, and the content of what has a length.

    Raises:
        ValueError: It is no protobuf.
    """
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        wire, content = key & 7, b""
        if wire == LENGTH:
            size, at = _varint(message, at)
            content = message[at : at + size]
            at += size
        elif wire == VARINT:
            _, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if at > len(message):
            raise ValueError(f"the field at byte {start} is cut off")
        yield key >> 3, message[start:at], content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError(f"cut off at byte {at}")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def message(field: int, content: bytes) -> bytes:
    """Return a field that has a length: a message, a string, or bytes."""
    return _encoded(field << 3 | LENGTH) + _encoded(len(content)) + content


def number(field: int, value: int) -> bytes:
    """Return a field that is a number, 0 or more."""
    return _encoded(field << 3 | VARINT) + _encoded(value)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
