"""Header blocks (HPACK, RFC 7541): requests' to what they ask, statuses to blocks. Pure.

Requests may use the dynamic table; a connection's later ones are then a few bytes that name its entries, and perhaps a
token written out. What was decoded once is looked up. Responses are written out plainly, without state.
"""

import base64
import binascii
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, cast
from urllib.parse import quote

from hpack import Decoder, OversizedHeaderListError
from hpack.exceptions import HPACKError

from vecserve_wire.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError

# It logs every header at debug, and bearer tokens are headers.
logging.getLogger("hpack").setLevel(logging.INFO)

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
SharedMetadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""Of many calls: it can be looked up, and so is encoded once."""

CONTENT_TYPE: Final = "application/grpc"

NO_TABLE: Final = b"\x20"
"""What may begin a block: the dynamic table has no room (RFC 7541, section 6.3)."""

_HTTP_OK = b"\x88"  # :status 200 in HPACK's static table
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PSEUDO = {":method", ":path", ":scheme", ":authority"}
_OF_CONNECTIONS = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
_BINARY = "-bin"
_INVALID_ARGUMENT = 3
# Of a connection: blocks, and bytes of each.
_MOST_REMEMBERED = 16
_LONGEST_REMEMBERED = 2048


class MalformedRequestError(Exception):
    """The headers are those of no gRPC call, or of one that can't be understood."""

    def __init__(self, message: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self._http_status = http_status

    @property
    def answer(self) -> bytes:
        """The block that answers it: with an HTTP status where no gRPC client would read another."""
        if self._http_status is not None:
            return _literal(":status", str(self._http_status).encode())
        return answer(_INVALID_ARGUMENT, str(self))


class ForbiddenHeadersError(Exception):
    """HTTP/2 has no such request (RFC 9113, section 8.1.1): its stream is reset."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a call's headers say."""

    path: str
    """/package.Service/Method."""
    timeout: float | None
    """Seconds that the call may take."""
    encoding: str
    """How its messages are compressed: "identity", "gzip", ..."""
    metadata: Metadata
    """All that is neither HTTP's nor the protocol's own."""


class HeadReader:
    """Decodes the header blocks of one connection."""

    def __init__(self, max_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_bytes)
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """What one request's block says.

        Raises:
            ProtocolError: the block is malformed or too large; the connection's state is lost.
            ForbiddenHeadersError: it is sound, and not of a request that HTTP/2 allows.
            MalformedRequestError: it asks for something else than a call.
        """
        head = self._known.get(block)
        if head is None:
            headers, means_the_same = self._decode(block)
            head = _head(headers)
            if means_the_same and len(block) <= _LONGEST_REMEMBERED:
                if len(self._known) == _MOST_REMEMBERED:
                    self._known.clear()  # most may have been of calls with something of their own, as an id
                self._known[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """Reads a block for the table's sake alone, as a request's trailers."""
        self._decode(block)

    def _decode(self, block: bytes) -> tuple[Iterable[tuple[bytes, bytes]], bool]:
        """What a block says, and whether it says the same if it comes once more."""
        before = self._newest()
        try:
            headers = cast("Iterable[tuple[bytes, bytes]]", self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise ProtocolError("headers are larger than allowed", ENHANCE_YOUR_CALM) from error
        except (HPACKError, IndexError) as error:
            raise ProtocolError(f"a malformed header block: {error}", COMPRESSION_ERROR) from error
        after = self._newest()
        if after[0] is not before[0] or after[1] != before[1]:
            self._known.clear()  # numbers in earlier blocks mean other entries now
            return headers, False
        return headers, not _resizes_table(block)

    def _newest(self) -> tuple[object, int]:
        """An object and a number, one of which is another whenever the table has changed.

        The entry itself and not its id, which the entry that takes its place may be given.
        """
        entries = self._decoder.header_table.dynamic_entries
        return (entries[0] if entries else None), len(entries)


def _resizes_table(block: bytes) -> bool:
    """Whether a block begins with another size of the table (RFC 7541, section 6.3)."""
    return bool(block) and block[0] & 0xE0 == 0x20


def _head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    pseudo: dict[str, str] = {}
    timeout = None
    content_type, encoding = "", "identity"
    metadata: list[tuple[str, str | bytes]] = []
    ordinary = False
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":"):
            if ordinary or name in pseudo or name not in _PSEUDO:
                raise ForbiddenHeadersError(f"{name!r:.40} is unknown, comes twice, or after other headers")
            pseudo[name] = value
            continue
        ordinary = True
        match name:
            case "content-type":
                content_type = value
            case "grpc-timeout":
                timeout = _seconds(value)
            case "grpc-encoding":
                encoding = value
            case "te":
                if value != "trailers":
                    raise ForbiddenHeadersError(f"te is {value!r:.40}, and can only be trailers")
            case _:
                metadata += _metadata(name, value)
    _check_request(pseudo, content_type)
    return Head(pseudo[":path"], timeout, encoding, tuple(metadata))


def _metadata(name: str, value: str) -> Metadata:
    if name in _OF_CONNECTIONS or name != name.lower():
        raise ForbiddenHeadersError(f"{name!r:.40} is in capitals, or about a connection of HTTP/1.1")
    return _binary(name, value) if name.endswith(_BINARY) else ((name, value),)


def _check_request(pseudo: Mapping[str, str], content_type: str) -> None:
    if not (pseudo.get(":path") and ":method" in pseudo and ":scheme" in pseudo):
        raise ForbiddenHeadersError("a request has :method, :scheme and :path")
    if pseudo[":method"] != "POST":
        raise MalformedRequestError("a gRPC call is a POST", 405)
    if content_type != CONTENT_TYPE and not content_type.startswith((f"{CONTENT_TYPE}+", f"{CONTENT_TYPE};")):
        raise MalformedRequestError(f"content-type is {content_type!r:.80}, and gRPC's is {CONTENT_TYPE}", 415)


def _seconds(value: str) -> float:
    digits, unit = value[:-1], value[-1:]
    if not (1 <= len(digits) <= 8 and digits.isascii() and digits.isdecimal() and unit in _UNITS):
        raise MalformedRequestError(f"grpc-timeout is {value!r:.40}: 1 to 8 digits and one of {', '.join(_UNITS)}")
    return int(digits) * _UNITS[unit]


def _binary(name: str, value: str) -> list[tuple[str, bytes]]:
    try:
        return [(name, base64.b64decode(part + "=" * (-len(part) % 4), validate=True)) for part in value.split(",")]
    except (binascii.Error, ValueError) as error:
        raise MalformedRequestError(f"metadata {name!r:.80} is not base64") from error


def trailers(code: int, message: str = "", metadata: Metadata = ()) -> bytes:
    """The block that ends a call with a status, one of gRPC's codes."""
    if not code and not message:
        return _OK + _block(metadata)
    return _status(code, message) + _block(metadata)


def answer(code: int, message: str = "", metadata: SharedMetadata = (), own: Metadata = ()) -> bytes:
    """The block that answers a call without messages; all but what is its `own` is encoded once for many."""
    start = _answer(code, message, metadata)
    return start + _block(own) if own else start


@lru_cache(maxsize=256)
def _answer(code: int, message: str, metadata: SharedMetadata) -> bytes:
    return RESPONSE_HEAD + trailers(code, message, metadata)


@lru_cache(maxsize=256)
def _status(code: int, message: str) -> bytes:
    text = _literal("grpc-message", quote(message, safe=_UNQUOTED, errors="replace").encode()) if message else b""
    return _literal("grpc-status", str(code).encode()) + text


def _block(metadata: Metadata) -> bytes:
    return b"".join(
        [
            _binary_literal(name, value) if name.endswith(_BINARY) else _literal(name, _plain(value))
            for name, value in metadata
        ]
    )


@lru_cache(maxsize=256)
def _binary_literal(name: str, value: str | bytes) -> bytes:
    """The details of a status, mostly, which many calls share under overload."""
    content = value if isinstance(value, bytes) else value.encode()
    return _literal(name, base64.b64encode(content).rstrip(b"="))


def _plain(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _literal(name: str, value: bytes) -> bytes:
    """A literal that enters no table."""
    return _literal_name(name) + _size(len(value)) + value


@lru_cache(maxsize=64)
def _literal_name(name: str) -> bytes:
    return b"\0" + _size(len(name)) + name.encode("latin-1")


def _size(size: int) -> bytes:
    """A length with a prefix of 7 bits, without Huffman codes (RFC 7541, section 5.1)."""
    if size < 127:
        return bytes((size,))
    rest, encoded = size - 127, bytearray((127,))
    while rest >= 128:
        encoded.append(rest % 128 | 128)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


# All that is printable but the percent sign: what gRPC's percent-encoding leaves.
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
RESPONSE_HEAD: Final = _HTTP_OK + _literal("content-type", CONTENT_TYPE.encode())
"""The block before a response's messages."""
_OK = _literal("grpc-status", b"0")
