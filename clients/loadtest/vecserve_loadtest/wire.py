"""Protobuf's wire format, as far as streams need it: https://protobuf.dev/programming-guides/encoding. Pure.

Not by protobuf's own library, which would take apart the vectors that nobody asked for.
"""

from collections.abc import Iterator

_VARINT, _BYTES = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields in their order: the number, and the value of a varint or the bytes of all else.

    Raises:
        ValueError: If the message ends in the midst of a field, or has one of another kind.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        size, position = _size(kind, message, position)
        if position + size > end:
            raise ValueError(f"field {tag >> 3} has {size} bytes, and {end - position} are left")
        yield tag >> 3, message[position : position + size]
        position += size


def _size(kind: int, message: bytes, position: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, position)
    if kind not in _FIXED_SIZES:
        raise ValueError(f"a field of wire type {kind}")
    return _FIXED_SIZES[kind], position


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while (byte := message[position]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            position += 1
    except IndexError as error:
        raise ValueError("a number that does not end") from error
    return value | byte << shift, position + 1
