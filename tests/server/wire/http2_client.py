"""A client that sends any frame, in the event loop of the server that it talks to."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from vecserve_wire import frames
from vecserve_wire.frames import Frame, FrameReader

PATH = "/test.Service/"
HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"{PATH}Echo"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def message(content: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(content).to_bytes(4, "big") + content


def headers(**changes: str | None) -> list[tuple[str, str]]:
    """A call's; `changes` replace headers by their names, or remove them with None, or add them."""
    fields: dict[str, str | None] = {**dict(HEADERS)}
    fields |= {name if name in fields else name.replace("_", "-"): value for name, value in changes.items()}
    return [(name, value) for name, value in fields.items() if value is not None]


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    data: bytearray = field(default_factory=bytearray)
    reset: int | None = None
    ended: bool = False

    @property
    def code(self) -> int | None:
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None


class Client:
    """Notes all frames that come, and grants no window by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._from, self._to = reader, writer
        self._cut = FrameReader(2**24)
        self._decoder, self.encoder = Decoder(), Encoder()
        self._block: list[bytes] = []
        self._next_stream = 1
        self.frames: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.closed = False

    def use_no_table(self) -> None:
        """As after SETTINGS with a HEADER_TABLE_SIZE of 0."""
        self._decoder.max_allowed_table_size = 0

    def send(self, *parts: bytes) -> None:
        self._to.write(b"".join(parts))

    def greet(self, settings: dict[int, int] | None = None) -> None:
        self.send(frames.PREFACE, frames.settings(settings or {}))

    def request(self, method: str = "Echo", body: bytes | None = None, *, end: bool = True, **changes: str) -> int:
        """Begins a call, with a body of at most a frame, and returns its stream."""
        listed = [(name, f"{PATH}{method}" if name == ":path" else value) for name, value in headers(**changes)]
        stream = self.request_list(listed, end=end and body is None)
        if body is not None:
            self.data(stream, body, end=end)
        return stream

    def request_list(self, fields: Iterable[tuple[str, str]], *, end: bool = True) -> int:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.send(frames.headers(stream, self.encoder.encode(fields), last=end))
        return stream

    def data(self, stream: int, body: bytes, *, end: bool = False) -> None:
        for start in range(0, max(len(body), 1), 2**14):
            flags = frames.END_STREAM if end and start + 2**14 >= len(body) else 0
            self.send(frames.frame(frames.DATA, flags, stream, body[start : start + 2**14]))

    def leave(self) -> None:
        self._to.transport.abort()

    async def until(self, arrived: Callable[[], bool]) -> None:
        """Takes frames in until something is there, or the connection is closed."""
        async with asyncio.timeout(5):
            while not arrived() and not self.closed:
                await self._read()

    async def answer(self, stream: int) -> Answer:
        """Waits until a stream has ended."""
        await self.until(lambda: stream in self.answers and self.answers[stream].ended)
        return self.answers.get(stream, Answer())

    async def settled(self) -> None:
        """Waits until all that was sent has been taken, and what it led to at once has come."""
        for _ in range(2):  # handlers run between the two
            answered = self.count(frames.PING)
            self.send(frames.frame(frames.PING, 0, 0, b"settled?"))
            await self.until(lambda answered=answered: self.count(frames.PING) > answered)

    async def goaway(self) -> tuple[int, str]:
        """Waits for the connection's end; returns the code and reason of its last GOAWAY."""
        await self.until(lambda: self.closed)
        payload = next(payload for kind, _, _, payload in reversed(self.frames) if kind == frames.GOAWAY)
        return frames.read_uint32(payload, 4), payload[8:].decode()

    def count(self, kind: int, stream: int = 0) -> int:
        return sum(frame[0] == kind and frame[2] == stream for frame in self.frames)

    def body(self, stream: int) -> bytes:
        return bytes(self.answers[stream].data) if stream in self.answers else b""

    async def _read(self) -> None:
        try:
            data = await self._from.read(2**16)
        except ConnectionError:
            data = b""
        self.closed = not data
        for frame in self._cut.feed(data):
            self.frames.append(frame)
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        kind, flags, stream, payload = frame
        if not stream:
            return
        answer = self.answers.setdefault(stream, Answer())
        answer.ended = answer.ended or kind == frames.RST_STREAM
        if kind == frames.RST_STREAM:
            answer.reset = frames.read_uint32(payload)
        elif kind == frames.DATA:
            answer.data += payload
        elif kind in (frames.HEADERS, frames.CONTINUATION):
            self._take_block(answer, kind, flags, payload)

    def _take_block(self, answer: Answer, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.HEADERS:
            self._block, self._ends = [], bool(flags & frames.END_STREAM)
        self._block.append(payload)
        if flags & frames.END_HEADERS:
            answer.headers |= {str(name): str(value) for name, value in self._decoder.decode(b"".join(self._block))}
            answer.ended = answer.ended or self._ends
