"""HTTP/2's frames (RFC 9113, sections 4 and 6), to bytes and back. Pure."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

# Plain integers: comparing an IntEnum takes twice as long, some ten times a call.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
DEFAULT_FRAME_SIZE: Final = 16_384
"""Largest payload that every peer takes, in bytes."""

Frame: TypeAlias = tuple[int, int, int, bytes]
"""Kind, flags, stream id (0: the connection) and payload."""

_HEADER: Final = struct.Struct(">IBI")  # 24 bits of length and 8 of kind, flags, stream id
_SETTING: Final = struct.Struct(">HI")
_UINT32: Final = struct.Struct(">I")
_ID_MASK: Final = 0x7FFF_FFFF

pack_stream_id = _UINT32.pack


NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
FLOW_CONTROL_ERROR: Final = 3
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
ENHANCE_YOUR_CALM: Final = 11


class ProtocolError(Exception):
    """The peer broke HTTP/2, and the connection can't be used any more."""

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code
        """What a GOAWAY tells the peer."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return _HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def frame_head(kind: int, flags: int, size: int) -> bytes:
    """Return the five bytes before a frame's stream id, for a payload of `size` bytes."""
    return _HEADER.pack(size << 8 | kind, flags, 0)[:5]


def settings(values: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def window_update(stream_id: int, size: int) -> bytes:
    """Return the frame that lets the peer send `size` more bytes."""
    return frame(WINDOW_UPDATE, 0, stream_id, _UINT32.pack(size))


def rst_stream(stream_id: int, error_code: int) -> bytes:
    """Return the frame that ends one stream at once."""
    return frame(RST_STREAM, 0, stream_id, _UINT32.pack(error_code))


def headers(stream_id: int, block: bytes, max_frame_size: int = DEFAULT_FRAME_SIZE, *, last: bool = False) -> bytes:
    """Return a header block as one HEADERS frame, and CONTINUATIONs if it is larger than a frame may be."""
    flags = END_STREAM if last else 0
    if len(block) <= max_frame_size:
        return _HEADER.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [block[start : start + max_frame_size] for start in range(0, len(block), max_frame_size)]
    first, *middle, end = parts
    rest = b"".join(frame(CONTINUATION, 0, stream_id, part) for part in middle)
    return frame(HEADERS, flags, stream_id, first) + rest + frame(CONTINUATION, END_HEADERS, stream_id, end)


def goaway(last_stream_id: int, error_code: int, reason: str = "") -> bytes:
    """Return the frame that announces the end of the connection: streams after the last are not answered."""
    return frame(GOAWAY, 0, 0, _UINT32.pack(last_stream_id) + _UINT32.pack(error_code) + reason.encode())


class FrameReader:
    """Cuts what a socket delivers, in pieces of any size, into frames."""

    def __init__(self, max_frame_size: int = DEFAULT_FRAME_SIZE) -> None:
        self._max_frame_size = max_frame_size
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete; to be exhausted before the next call.

        Raises:
            ProtocolError: On a frame larger than was allowed.
        """
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        while end - position >= 9:
            word, flags, stream_id = _HEADER.unpack_from(data, position)
            size = word >> 8
            if size > self._max_frame_size:
                raise ProtocolError(
                    f"a frame of {size} bytes, where at most {self._max_frame_size} were allowed", FRAME_SIZE_ERROR
                )
            start = position + 9
            stop = start + size
            if stop > end:
                break
            position = stop
            yield word & 0xFF, flags, stream_id & _ID_MASK, data[start:stop]
        self._rest = data[position:]


class ReceiveWindow:
    """Counts what a peer may still send on a connection, over all calls (RFC 9113, section 5.2)."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def take(self, size: int) -> int:
        """Note that so many bytes came; return by how many to let the peer send more now, once half is used.

        Raises:
            ProtocolError: If they are more than it was allowed.
        """
        self._left -= size
        if self._left < 0:
            raise ProtocolError("more was sent than the connection's window allows", FLOW_CONTROL_ERROR)
        if self._left > self._size // 2:
            return 0
        used, self._left = self._size - self._left, self._size
        return used


def without_preface(due: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return what is due of a client's preface after these bytes, and what comes after it in them.

    Raises:
        ProtocolError: If they do not begin with what is due.
    """
    size = min(len(data), len(due))
    if data[:size] != due[:size]:
        raise ProtocolError("no HTTP/2 preface: a client without gRPC, or with TLS")
    return due[size:], data[size:]


def content(kind: int, flags: int, payload: bytes) -> bytes:
    """Return a DATA's or HEADERS' payload without padding and priority.

    Raises:
        ProtocolError: If the padding is longer than the payload.
    """
    start, stop = 0, len(payload)
    if flags & PADDED:
        start, stop = 1, stop - (payload[0] if payload else 0)
    if flags & HAS_PRIORITY and kind == HEADERS:
        start += 5
    if start > stop:
        raise ProtocolError("padding longer than its frame")
    return payload[start:stop]


def read_settings(payload: bytes) -> dict[int, int]:
    """Return a SETTINGS frame's values by their identifiers.

    Raises:
        ProtocolError: If the payload has a size that no list of settings has, or a value is not allowed.
    """
    if len(payload) % _SETTING.size:
        raise ProtocolError(f"SETTINGS of {len(payload)} bytes", FRAME_SIZE_ERROR)
    values: dict[int, int] = dict(_SETTING.iter_unpack(payload))
    if (window := values.get(INITIAL_WINDOW_SIZE, 0)) > MAX_WINDOW:
        raise ProtocolError(f"INITIAL_WINDOW_SIZE {window}", FLOW_CONTROL_ERROR)
    if not DEFAULT_FRAME_SIZE <= (size := values.get(MAX_FRAME_SIZE, DEFAULT_FRAME_SIZE)) < 2**24:
        raise ProtocolError(f"MAX_FRAME_SIZE {size}")
    if (push := values.get(ENABLE_PUSH, 0)) > 1:
        raise ProtocolError(f"ENABLE_PUSH {push}")
    return values


def read_uint32(payload: bytes, at: int = 0) -> int:
    """Return the number in the 4 bytes at a position.

    Raises:
        ProtocolError: If the payload is too short.
    """
    if len(payload) < at + 4:
        raise ProtocolError(f"a payload of {len(payload)} bytes, where {at + 4} are needed", FRAME_SIZE_ERROR)
    return _UINT32.unpack_from(payload, at)[0]


def read_rst_stream(payload: bytes) -> int:
    """Return a RST_STREAM's error code.

    Raises:
        ProtocolError: If the payload has another size than a code.
    """
    if len(payload) != 4:
        raise ProtocolError("RST_STREAM without a code", FRAME_SIZE_ERROR)
    return read_uint32(payload)


def read_window_update(payload: bytes) -> int:
    """Return by how many bytes a WINDOW_UPDATE lets one send more.

    Raises:
        ProtocolError: If the payload has another size than a number, or it is 0.
    """
    if len(payload) != 4:
        raise ProtocolError(f"WINDOW_UPDATE of {len(payload)} bytes", FRAME_SIZE_ERROR)
    size = read_uint32(payload) & MAX_WINDOW
    if not size:
        raise ProtocolError("WINDOW_UPDATE by nothing")
    return size


def check_ping(_: int, stream_id: int, payload: bytes) -> None:
    """Raises ProtocolError if a PING is malformed."""
    if stream_id or len(payload) != 8:
        raise ProtocolError("a malformed PING", FRAME_SIZE_ERROR)


def check_settings(flags: int, stream_id: int, payload: bytes) -> None:
    """Raises ProtocolError if SETTINGS are a stream's, or acknowledged with values."""
    if stream_id:
        raise ProtocolError("SETTINGS of a stream")
    if flags & ACK and payload:
        raise ProtocolError("an acknowledgement of SETTINGS with values", FRAME_SIZE_ERROR)


def check_priority(_: int, stream_id: int, payload: bytes) -> None:
    """Raises ProtocolError if a PRIORITY is malformed; what it says, RFC 9113 has dropped."""
    if len(payload) != 5:
        raise ProtocolError(f"PRIORITY of {len(payload)} bytes", FRAME_SIZE_ERROR)
    if not stream_id:
        raise ProtocolError("PRIORITY of no stream")


def check_goaway(_: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG001 (all kinds' arguments)
    """Raises ProtocolError if a client's GOAWAY is malformed; it is about what servers push."""
    if stream_id:
        raise ProtocolError("GOAWAY of a stream")


def refuse_push(*_: object) -> None:
    """Raises ProtocolError: clients don't push."""
    raise ProtocolError("PUSH_PROMISE from a client")
