"""HTTP/2 and gRPC by hand, for what no gRPC library can be made to send."""

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from hpack import Decoder, Encoder

from vecserve_wire import frames
from vecserve_wire.frames import FrameReader

PREFIX = struct.Struct(">BI")  # compressed flag and length, before each message


def prefixed(message: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A message as gRPC frames it, or with a flag and a length that are not its own."""
    return PREFIX.pack(compressed, len(message) if length is None else length) + message


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    data: bytes = b""
    reset: int | None = None
    """The HTTP/2 error code that ended it."""
    ended: bool = False

    @property
    def code(self) -> int | None:
        """The gRPC status code, if there was one."""
        status = self.headers.get("grpc-status")
        return None if status is None else int(status)


class RawConnection:
    """One connection to a server, on which anything may be sent. Blocking."""

    def __init__(self, address: str, timeout: float = 10.0, settings: dict[int, int] | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        """Whether the server ended the connection, by a GOAWAY or by closing it."""
        self.answers: dict[int, Answer] = {}
        self._authority = address
        self._reader = FrameReader(2**24)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._next_stream = 1
        self.socket.sendall(frames.PREFACE + frames.settings(settings or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Sends bytes; that the server has closed the connection is noted and not raised."""
        try:
            self.socket.sendall(b"".join(parts))
        except OSError:
            self.closed = True

    def request(
        self, path: str, extra: Iterable[tuple[str, str]] = (), *, end: bool = False, **changes: str | None
    ) -> int:
        """Sends a call's headers and returns its stream; `changes` replace headers, or remove them with None."""
        headers: dict[str, str | None] = {name.decode(): value.decode() for name, value in self._standard().items()}
        headers |= {":path": path} | {name.replace("_", "-"): value for name, value in changes.items()}
        listed = [(name, value) for name, value in headers.items() if value is not None]
        return self.request_block(self._encoder.encode([*listed, *extra]), end=end)

    def encode(self, headers: dict[bytes, bytes]) -> bytes:
        """A call's headers as a block, with these in place of or after those that every call has."""
        return self._encoder.encode([*(self._standard() | headers).items()])

    def _standard(self) -> dict[bytes, bytes]:
        return {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": b"/",
            b":authority": self._authority.encode(),
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }

    def request_block(self, block: bytes, *, end: bool = False) -> int:
        """Opens a stream with a header block."""
        stream = self._next_stream
        self._next_stream += 2
        self.answers[stream] = Answer()
        head, rest = block[: frames.DEFAULT_FRAME_SIZE], block[frames.DEFAULT_FRAME_SIZE :]
        flags = frames.END_STREAM if end else 0
        self.send(frames.frame(frames.HEADERS, flags | (0 if rest else frames.END_HEADERS), stream, head))
        while rest:
            part, rest = rest[: frames.DEFAULT_FRAME_SIZE], rest[frames.DEFAULT_FRAME_SIZE :]
            self.send(frames.frame(frames.CONTINUATION, 0 if rest else frames.END_HEADERS, stream, part))
        return stream

    def data(self, stream: int, payload: bytes, *, end: bool = True) -> None:
        """Sends a request's body, which must fit into the server's first window."""
        parts = [payload[at : at + 2**14] for at in range(0, len(payload), 2**14)] or [b""]
        for index, part in enumerate(parts):
            last = end and index == len(parts) - 1
            self.send(frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream, part))

    def answer(self, stream: int, timeout: float = 60.0) -> Answer:
        """Waits for the stream to end, however it ends.

        Raises:
            TimeoutError: it did not.
        """
        deadline = time.monotonic() + timeout
        while not self.answers[stream].ended and not self.closed:
            self.read(deadline - time.monotonic())
        return self.answers[stream]

    def read(self, timeout: float) -> None:
        """Takes in what comes next; raises TimeoutError if nothing does."""
        if timeout <= 0:
            raise TimeoutError("the server did not answer in time")
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(2**16)
        except TimeoutError:
            raise TimeoutError("the server did not answer in time") from None
        except OSError:
            data = b""
        if not data:
            self.closed = True
        for kind, flags, stream, payload in self._reader.feed(data):
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        answer = self.answers.get(stream)
        if kind == frames.SETTINGS and not flags & frames.ACK:
            self.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            self.send(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self.closed = True
        elif kind == frames.HEADERS:
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            if answer is not None:
                answer.headers |= fields
                answer.ended = bool(flags & frames.END_STREAM)
        elif answer is not None and kind == frames.RST_STREAM:
            answer.reset, answer.ended = frames.read_uint32(payload), True
        elif answer is not None and kind == frames.DATA:
            answer.data += payload
            answer.ended = bool(flags & frames.END_STREAM)
