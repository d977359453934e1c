"""Messages out of a stream's bytes, and into them: a flag, a length, and that many bytes."""

import struct
import zlib
from typing import Final

PREFIX: Final = struct.Struct(">BI")

# What zlib calls a gzip header, and any that it knows.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
ACCEPTED: Final = ("identity", *_WINDOW_BITS)
"""Values of grpc-encoding that are understood."""


class MessageError(Exception):
    """A message that can't be taken, with gRPC's code for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


INVALID_ARGUMENT = 3
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12


class Compressed(bytes):
    """A message as it came. It is unpacked when it is read: a window of them may hold a thousand times its size."""

    __slots__ = ()


class MessageReader:
    """Cuts a stream's bytes, in pieces of any size, into messages."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._part = bytearray()
        self._needed = PREFIX.size

    @property
    def held(self) -> int:
        """Bytes of a message that is not yet whole."""
        return len(self._part)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole with this piece, for `plain`.

        Raises:
            MessageError: one is too large, or compressed in a way that was not announced or is not known.
        """
        if self._part:
            self._part += data
            if len(self._part) < self._needed:
                return []
            data = bytes(self._part)
        messages: list[bytes] = []
        start = 0
        self._needed = PREFIX.size
        while len(data) - start >= PREFIX.size:
            flag, size = PREFIX.unpack_from(data, start)
            self._check(flag, size)
            end = start + PREFIX.size + size
            if end > len(data):
                self._needed = end - start
                break
            body = data[start + PREFIX.size : end]
            messages.append(Compressed(body) if flag else body)
            start = end
        if self._part or start < len(data):
            self._part = bytearray(data[start:])
        return messages

    def plain(self, message: bytes) -> bytes:
        """A message of `feed`, not compressed.

        Raises:
            MessageError: it is too large, or not what it was announced as.
        """
        return self._decompressed(message) if type(message) is Compressed else message

    def _check(self, flag: int, size: int) -> None:
        if flag > 1:
            raise MessageError(INVALID_ARGUMENT, f"a message begins with {flag}, where 0 or 1 says if it is compressed")
        if flag and self._encoding not in _WINDOW_BITS:
            if self._encoding == "identity":
                raise MessageError(INVALID_ARGUMENT, "a message is compressed, and grpc-encoding does not say how")
            raise MessageError(UNIMPLEMENTED, f"grpc-encoding is {self._encoding!r:.40}: one of {', '.join(ACCEPTED)}")
        if size > self._max_bytes:
            raise _too_large("Received", size, self._max_bytes)

    def _decompressed(self, body: bytes) -> bytes:
        unpack = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            message = unpack.decompress(body, self._max_bytes + 1)
        except zlib.error as error:
            raise MessageError(INVALID_ARGUMENT, f"a message is not {self._encoding}: {error}") from error
        if len(message) > self._max_bytes:
            raise _too_large("Received", len(message), self._max_bytes)
        if not unpack.eof:
            raise MessageError(INVALID_ARGUMENT, f"a message is not whole {self._encoding}")
        return message


def _too_large(verb: str, size: int, limit: int) -> MessageError:
    """In the words of gRPC's core, which clients know: `verb` is "Received" or "Sent"."""
    return MessageError(RESOURCE_EXHAUSTED, f"SERVER: {verb} message larger than max ({size} vs. {limit})")


def prefix_of(message: bytes, max_bytes: int) -> bytes:
    """What stands before a message that is not compressed, in a stream.

    Raises:
        MessageError: it is too large.
    """
    if len(message) > max_bytes:
        raise _too_large("Sent", len(message), max_bytes)
    return PREFIX.pack(0, len(message))
