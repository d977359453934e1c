"""The client's end of an HTTP/2 connection that carries gRPC calls: bytes in, bytes out, no socket. Pure."""

from typing import Final, Generic, TypeVar

from vecserve_loadtest.headers import DEFAULT_TABLE_SIZE, Headers, request_blocks
from vecserve_loadtest.outbox import Body, HeaderBlock, Outbox
from vecserve_loadtest.status import CANCEL, REFUSED_STREAM
from vecserve_wire import frames
from vecserve_wire.frames import FrameReader, ProtocolError

MAX_FRAME_SIZE: Final = 2**16
"""Largest payload that the server may send, in bytes: a response's parts are few and are not moved about much."""

_ID_MASK = 2**31 - 1
_LAST_STREAM_ID = 2**31 - 1
_REPLENISH = 2**30  # half of the window that the server starts with
_STATUS_200 = b"\x88"


class Exchange:
    """A request and what came back for it.

    Attributes:
        stream_id: The stream that carries it, of the connection it was last sent on.
        body: What is sent.
        received: Bytes of DATA that came, with gRPC's five before each message.
        parts: Their contents, where a list is there to take them.
        head: The response's first header block, where it isn't a plain `:status: 200`.
        trailers: The header block that ended the response; empty where none did.
        reset: The HTTP/2 error code that ended it instead, or None.
        unprocessed: Whether the server said that it had not begun with it.
    """

    # Defaults of the class, for they cost nothing where they stay: most calls are answered in one way.
    stream_id: int = 0
    received: int = 0
    head: bytes = b""
    trailers: bytes = b""
    reset: int | None = None
    unprocessed: bool = False
    parts: list[bytes] | None = None

    def __init__(self, body: Body) -> None:
        self.body = body


AnyExchange = TypeVar("AnyExchange", bound=Exchange)


class Connection(Generic[AnyExchange]):
    """Sends requests with the same headers, and tells which exchanges have ended.

    Args:
        headers: All of a request's headers, the pseudo-headers first.
        first_stream_id: The stream of the first request; odd.

    Attributes:
        ready: Whether the server's settings have come, before which nothing is to be sent.
        closing: Whether no more requests can be sent on this connection, though some may be under way.
        broken: How the server broke HTTP/2, so that nothing more will come; None while it has not.
    """

    def __init__(self, headers: Headers, first_stream_id: int = 1) -> None:
        self.ready = False
        self.closing = False
        self.broken: ProtocolError | None = None
        self._headers = headers
        self._next_id = first_stream_id
        self._exchanges: dict[int, AnyExchange] = {}
        self._max_exchanges = _LAST_STREAM_ID
        self._reader = FrameReader(MAX_FRAME_SIZE)
        self._outbox = Outbox()
        self._consumed = 0
        self._unfinished: tuple[int, int, list[bytes]] | None = None
        self._use_table(DEFAULT_TABLE_SIZE)
        self._outbox.add(_GREETING)

    @property
    def in_flight(self) -> int:
        """Number of requests whose exchange has not ended."""
        return len(self._exchanges)

    @property
    def uploading(self) -> bool:
        """Whether requests wait for the server's windows."""
        return self._outbox.uploading

    @property
    def accepting(self) -> bool:
        """Whether `send` may be called now."""
        return self.ready and not self.closing and len(self._exchanges) < self._max_exchanges

    def send(self, exchange: AnyExchange) -> None:
        """Send a request. Only while the connection is accepting."""
        self._begin(exchange)
        self._outbox.add_request(exchange.stream_id, self._block, exchange.body)
        self._block = self._later_block

    def open(self, exchange: AnyExchange) -> None:
        """Begin a request that has no end; its body is ignored. Only while the connection is accepting."""
        self._begin(exchange)
        self._outbox.open(exchange.stream_id, self._block)
        self._block = self._later_block

    def write(self, exchange: AnyExchange, data: bytes) -> None:
        """Send more of a request that was opened and has not ended."""
        self._outbox.write(exchange.stream_id, data)

    def replenish(self, exchange: AnyExchange, size: int) -> None:
        """Let the server send so many bytes more in an exchange that would outlast its window of 2 GiB."""
        self._outbox.add(frames.window_update(exchange.stream_id, size))

    def cancel(self, exchange: AnyExchange) -> None:
        """Give up an exchange that is in flight; what still comes for it is ignored."""
        del self._exchanges[exchange.stream_id]
        self._outbox.drop(exchange.stream_id)
        self._outbox.add(frames.rst_stream(exchange.stream_id, CANCEL))

    def take(self) -> bytes:
        """Return the next bytes for the server; empty where there are none for now."""
        return self._outbox.take()

    def close(self) -> list[AnyExchange]:
        """Return the exchanges that will get no answer now that the connection is lost."""
        self.closing = True
        lost = list(self._exchanges.values())
        self._exchanges.clear()
        return lost

    def receive(self, data: bytes) -> list[AnyExchange]:
        """Take what the server sent, in pieces of any size, and return the exchanges that ended with it."""
        ended: list[AnyExchange] = []
        try:
            for frame in self._reader.feed(data):
                self._take_frame(*frame, ended)
        except ProtocolError as error:  # held back for the sake of what ended before
            self.broken = error
            self.closing = True
        return ended

    def _begin(self, exchange: AnyExchange) -> None:
        stream_id = self._next_id
        self._next_id = stream_id + 2
        if self._next_id > _LAST_STREAM_ID:
            self.closing = True
        exchange.stream_id = stream_id
        self._exchanges[stream_id] = exchange

    def _take_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, ended: list[AnyExchange]) -> None:
        if self._unfinished is not None:
            self._continue_block(kind, flags, stream_id, payload, ended)
        elif kind == frames.DATA:
            self._take_data(flags, stream_id, payload, ended)
        elif kind == frames.HEADERS:
            self._take_headers(flags, stream_id, payload, ended)
        else:
            self._take_control(kind, flags, stream_id, payload, ended)

    def _take_data(self, flags: int, stream_id: int, payload: bytes, ended: list[AnyExchange]) -> None:
        self._consumed += len(payload)
        if self._consumed > _REPLENISH:
            self._outbox.add(frames.window_update(0, self._consumed))
            self._consumed = 0
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        if flags & frames.PADDED:
            payload = frames.content(frames.DATA, flags, payload)
        exchange.received += len(payload)
        if exchange.parts is not None:
            exchange.parts.append(payload)
        if flags & frames.END_STREAM:
            self._end(exchange, ended)

    def _take_headers(self, flags: int, stream_id: int, payload: bytes, ended: list[AnyExchange]) -> None:
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = frames.content(frames.HEADERS, flags, payload)
        if flags & frames.END_HEADERS:
            self._take_block(flags, stream_id, payload, ended)
        else:
            self._unfinished = (stream_id, flags, [payload])

    def _take_block(self, flags: int, stream_id: int, block: bytes, ended: list[AnyExchange]) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        if flags & frames.END_STREAM:
            exchange.trailers = block
            self._end(exchange, ended)
        elif not block.startswith(_STATUS_200):
            exchange.head = block

    def _continue_block(self, kind: int, flags: int, stream_id: int, payload: bytes, ended: list[AnyExchange]) -> None:
        assert self._unfinished is not None
        expected, first_flags, parts = self._unfinished
        if kind != frames.CONTINUATION or stream_id != expected:
            raise ProtocolError(f"a frame of kind {kind} in the midst of a header block")
        parts.append(payload)
        if flags & frames.END_HEADERS:
            self._unfinished = None
            self._take_block(first_flags, stream_id, b"".join(parts), ended)

    def _take_control(self, kind: int, flags: int, stream_id: int, payload: bytes, ended: list[AnyExchange]) -> None:
        match kind:
            case frames.SETTINGS if not flags & frames.ACK:
                self._apply(frames.read_settings(payload))
            case frames.PING if not flags & frames.ACK:
                self._outbox.add(frames.frame(frames.PING, frames.ACK, 0, payload))
            case frames.WINDOW_UPDATE:
                self._outbox.grow(stream_id, frames.read_uint32(payload) & _ID_MASK)
            case frames.RST_STREAM:
                if exchange := self._exchanges.get(stream_id):
                    exchange.reset = frames.read_uint32(payload)
                    exchange.unprocessed = exchange.reset == REFUSED_STREAM
                    self._end(exchange, ended)
            case frames.GOAWAY:
                self._go_away(frames.read_uint32(payload) & _ID_MASK, ended)
            case frames.PUSH_PROMISE | frames.CONTINUATION:
                raise ProtocolError(f"a frame of kind {kind} that nothing called for")
            case _:  # acknowledgements, PRIORITY, and kinds of later versions
                pass

    def _apply(self, values: dict[int, int]) -> None:
        table_size = values.get(frames.HEADER_TABLE_SIZE, self._table_size)
        if not self.ready:
            self._use_table(table_size)
        elif table_size < min(self._table_size, DEFAULT_TABLE_SIZE):
            self.closing = True  # rather than to change the blocks midway, which no server is known to ask for
        self._max_exchanges = values.get(frames.MAX_CONCURRENT_STREAMS, self._max_exchanges)
        if (window := values.get(frames.INITIAL_WINDOW_SIZE)) is not None:
            self._outbox.set_stream_window(window)
        if (frame_size := values.get(frames.MAX_FRAME_SIZE)) is not None:
            self._outbox.set_frame_size(frame_size)
        self._outbox.add(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.ready = True

    def _use_table(self, size: int) -> None:
        self._table_size = size
        blocks = request_blocks(self._headers, size)
        self._block, self._later_block = HeaderBlock(blocks.first), HeaderBlock(blocks.later)

    def _go_away(self, last_stream_id: int, ended: list[AnyExchange]) -> None:
        self.closing = True
        for exchange in [each for each in self._exchanges.values() if each.stream_id > last_stream_id]:
            exchange.unprocessed = True
            self._end(exchange, ended)

    def _end(self, exchange: AnyExchange, ended: list[AnyExchange]) -> None:
        stream_id = exchange.stream_id
        del self._exchanges[stream_id]
        if self._outbox.drop(stream_id) and exchange.reset is None and not exchange.unprocessed:
            self._outbox.add(frames.rst_stream(stream_id, CANCEL))  # answered before it was all sent
        ended.append(exchange)


_GREETING = (
    frames.PREFACE
    + frames.settings(
        {
            frames.HEADER_TABLE_SIZE: 0,
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW,
            frames.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
        }
    )
    + frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
)
