"""Ways to break HTTP/2 and gRPC's framing, each on a connection of its own."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hardening import messages
from hardening.wire import Answer, RawConnection, prefixed
from vecserve_wire import frames

_WINDOW = 60_000  # of a stream before the server extends it


@dataclass(frozen=True)
class Ending:
    """How a broken call ended."""

    code: int | None
    """The gRPC status; None where the stream or the connection was ended without."""
    by_grpc: bool
    """Whether gRPC itself answered, and none of the server's handlers: such answers carry no request id."""
    message: str = ""


Break = Callable[[random.Random, RawConnection], int | None]
"""Sends something, and returns the stream to be answered; None where none was opened, or it was given up."""


def ending(address: str, fault: Break, draw: random.Random) -> Ending:
    """Breaks a connection and waits for what comes back.

    Raises:
        TimeoutError: nothing did.
    """
    with RawConnection(address) as connection:
        stream = fault(draw, connection)
        if stream is None:
            return Ending(None, by_grpc=True)
        return _told(connection.answer(stream))


def _told(answer: Answer) -> Ending:
    return Ending(answer.code, "x-request-id" not in answer.headers, answer.headers.get("grpc-message", ""))


def _method(draw: random.Random) -> tuple[str, bytes]:
    request = draw.choice([each for each in messages.valid_requests() if len(each.messages[0]) < _WINDOW])
    return request.method, request.messages[0]


def _sends(connection: RawConnection, body: bytes, draw: random.Random, **headers: Any) -> int:
    stream = connection.request(_method(draw)[0], **headers)
    connection.data(stream, body[:_WINDOW])
    return stream


def no_message(draw: random.Random, connection: RawConnection) -> int:
    return connection.request(_method(draw)[0], end=True)


def empty_body(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, b"", draw)


def cut_prefix(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, prefixed(b"")[: draw.randint(1, 4)], draw)


def cut_message(draw: random.Random, connection: RawConnection) -> int:
    path, message = _method(draw)
    stream = connection.request(path)
    connection.data(stream, prefixed(message, length=len(message) + draw.randint(1, 2**20)))
    return stream


def several_messages(draw: random.Random, connection: RawConnection) -> int:
    path, message = _method(draw)
    stream = connection.request(path)
    connection.data(stream, (prefixed(message) * draw.randint(2, 9))[:_WINDOW])
    return stream


def huge_length(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, prefixed(b"x", length=draw.choice((2**32 - 1, 2**31, 2**26 + 1))), draw)


def compressed_without_encoding(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, prefixed(_method(draw)[1], compressed=draw.choice((1, 1, 2, 255))), draw)


def compressed_junk(draw: random.Random, connection: RawConnection) -> int:
    encoding = draw.choice(("gzip", "deflate", "zstd", "identity", ""))
    return _sends(connection, prefixed(draw.randbytes(40), compressed=1), draw, grpc_encoding=encoding)


def random_body(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, draw.randbytes(draw.randint(0, 2000)), draw)


def content_type(draw: random.Random, connection: RawConnection) -> int:
    kinds = (None, "application/json", "application/grpc+json", "application/grpc-web", "text/html", "")
    return _sends(connection, prefixed(_method(draw)[1]), draw, content_type=draw.choice(kinds))


def method_name(draw: random.Random, connection: RawConnection) -> int:
    paths = (
        b"",
        b"/",
        b"//",
        b"nonsense",
        b"/\xff\xfe/\x80",
        b"/vecserve.v1.EmbeddingService/\xc3",
        b"/a/" + b"b" * 8000,
    )
    block = connection.encode({b":path": draw.choice(paths)})
    return _body_on(connection, connection.request_block(block), draw)


def http_method(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, b"", draw, **{":method": draw.choice(("GET", "PUT", "OPTIONS", "", None))})


def pseudo_headers(draw: random.Random, connection: RawConnection) -> int:
    return _sends(connection, b"", draw, **{draw.choice((":path", ":scheme", ":authority", "te")): None})


def timeout(draw: random.Random, connection: RawConnection) -> int:
    values = (
        "junk",
        "",
        "0n",
        "-5S",
        "99999999H",
        "999999999999H",
        "1",
        "S",
        "1 S",
        "\x7f",
        "1e9S",
        "10000000000000000000u",
    )
    return _sends(connection, prefixed(_method(draw)[1]), draw, grpc_timeout=draw.choice(values))


def metadata(draw: random.Random, connection: RawConnection) -> int:
    names = (b"x-request-id", b"x-vecserve-priority", b"authorization", b"x-any", b"x-any-bin", b"traceparent")
    length = int(draw.paretovariate(0.4)) % 100_000
    extra = {draw.choice(names): draw.randbytes(length) for _ in range(draw.randint(1, 3))}
    block = connection.encode({b":path": _method(draw)[0].encode(), **extra})
    return _body_on(connection, connection.request_block(block), draw)


def many_headers(draw: random.Random, connection: RawConnection) -> int:
    path, _ = _method(draw)
    extra = [(f"x-{number}", "v") for number in range(draw.randint(100, 3000))]
    return _body_on(connection, connection.request(path, extra), draw)


def broken_header_block(draw: random.Random, connection: RawConnection) -> int:
    return connection.request_block(draw.randbytes(draw.randint(1, 200)), end=True)


def reset_midway(draw: random.Random, connection: RawConnection) -> None:
    path, message = _method(draw)
    stream = connection.request(path)
    body = prefixed(message)
    connection.data(stream, body[: draw.randint(0, len(body))], end=draw.random() < 0.5)
    connection.send(frames.rst_stream(stream, draw.choice((0, 2, 8, 0xFFFF))))


def leave_midway(draw: random.Random, connection: RawConnection) -> None:
    path, message = _method(draw)
    connection.data(connection.request(path), prefixed(message)[: draw.randint(0, 40)], end=False)


def data_after_the_end(draw: random.Random, connection: RawConnection) -> int:
    path, message = _method(draw)
    stream = connection.request(path)
    connection.data(stream, prefixed(message))
    connection.data(stream, prefixed(message))
    return stream


def random_frames(draw: random.Random, connection: RawConnection) -> None:
    for _ in range(draw.randint(1, 20)):
        payload = draw.randbytes(draw.choice((0, 4, 5, 6, 8, 100)))
        connection.send(frames.frame(draw.randrange(12), draw.randrange(256), draw.randrange(8), payload))


def window_overflow(draw: random.Random, connection: RawConnection) -> None:
    path, _ = _method(draw)
    stream = connection.request(path)
    connection.send(frames.window_update(draw.choice((0, stream)), 2**31 - 1) * 2)


def settings_flood(draw: random.Random, connection: RawConnection) -> None:
    value = draw.choice((0, 1, 2**31 - 1, 2**32 - 1))
    connection.send(frames.settings({draw.randint(1, 6): value}) * draw.randint(1, 200))


def ping_flood(draw: random.Random, connection: RawConnection) -> None:
    connection.send(frames.frame(frames.PING, 0, 0, bytes(8)) * draw.randint(10, 500))


def frame_too_large(draw: random.Random, connection: RawConnection) -> None:
    stream = connection.request(_method(draw)[0])
    connection.send(frames.frame(frames.DATA, 0, stream, bytes(2**14 + draw.randint(1, 2**18))))


def no_http2(draw: random.Random, connection: RawConnection) -> None:
    starts = (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        struct.pack(">I", 2**31),
    )
    connection.send(draw.choice((*starts, draw.randbytes(500))))


def _body_on(connection: RawConnection, stream: int, draw: random.Random) -> int:
    connection.data(stream, prefixed(_method(draw)[1]))
    return stream


FAULTS: tuple[Break, ...] = (
    no_message,
    empty_body,
    cut_prefix,
    cut_message,
    several_messages,
    huge_length,
    compressed_without_encoding,
    compressed_junk,
    random_body,
    content_type,
    method_name,
    http_method,
    pseudo_headers,
    timeout,
    metadata,
    many_headers,
    broken_header_block,
    reset_midway,
    leave_midway,
    data_after_the_end,
    random_frames,
    window_overflow,
    settings_flood,
    ping_flood,
    frame_too_large,
    no_http2,
)

ANSWERED_BY_GRPC = {
    broken_header_block,
    compressed_junk,
    compressed_without_encoding,
    http_method,
    many_headers,
    metadata,
    timeout,
}
"""What breaks gRPC's own protocol: gRPC answers it with INTERNAL, as its specification says, before any handler."""
