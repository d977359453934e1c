"""Calls as messages of one stream, as vecserve's StreamEmbed has them. Pure.

A request carries an id in its field 1, and its answer the same; the answer's field 4, where it is set, is the
google.rpc.Status of a failure. Answers come in any order.
"""

from urllib.parse import quote

from hpack import Encoder

from vecserve_loadtest.calls import Call
from vecserve_loadtest.connection import Connection, Exchange
from vecserve_loadtest.headers import Headers
from vecserve_loadtest.outbox import Body
from vecserve_loadtest.wire import fields
from vecserve_wire.frames import ProtocolError

_PREFIX = 5  # gRPC's, before each message
_ID_SIZE = 8  # hexadecimal digits
_ID_HEAD = bytes([1 << 3 | 2, _ID_SIZE])
_ID, _ERROR = 1, 4
_CODE, _MESSAGE = 1, 2
_REPLENISH = 2**30
_OK = b"\x40\x0bgrpc-status\x010"


class StreamConnection:
    """The client's end of a connection whose calls share one stream, with the face of `Connection`.

    A call ends as if it had been alone: with its part of the stream's answers, and trailers of its own. If the stream
    ends, all its calls end as it does, and the next call begins another.

    Args:
        headers: All of a request's headers, the pseudo-headers first.
    """

    def __init__(self, headers: Headers) -> None:
        self._connection: Connection[Exchange] = Connection(headers)
        self._calls: dict[int, Call] = {}
        self._next_id = 0
        self._stream: Exchange | None = None
        self._granted = 0
        self._taken = 0
        self._needed = _PREFIX

    @property
    def ready(self) -> bool:
        """Whether the server's settings have come, before which nothing is to be sent."""
        return self._connection.ready

    @property
    def closing(self) -> bool:
        """Whether no more calls can be sent on this connection, though some may be under way."""
        return self._connection.closing

    @property
    def broken(self) -> ProtocolError | None:
        """How the server broke HTTP/2, so that nothing more will come; None while it has not."""
        return self._connection.broken

    @property
    def in_flight(self) -> int:
        """Number of calls that have not ended."""
        return len(self._calls)

    @property
    def uploading(self) -> bool:
        """Whether calls wait for the server's windows."""
        return self._connection.uploading

    @property
    def accepting(self) -> bool:
        """Whether `send` may be called now."""
        connection = self._connection
        return connection.ready and not connection.closing and (self._stream is not None or connection.accepting)

    def send(self, call: Call) -> None:
        """Send a call. Only while the connection is accepting."""
        if self._stream is None:
            self._begin()
        assert self._stream
        call.stream_id = self._next_id
        self._next_id = (self._next_id + 1) % 16**_ID_SIZE
        self._calls[call.stream_id] = call
        self._connection.write(self._stream, _request(call))

    def cancel(self, call: Call) -> None:
        """Give up a call that is in flight; the server is not told, and its answer is ignored."""
        del self._calls[call.stream_id]

    def take(self) -> bytes:
        """Return the next bytes for the server; empty where there are none for now."""
        return self._connection.take()

    def close(self) -> list[Call]:
        """Return the calls that will get no answer now that the connection is lost."""
        self._connection.close()
        return self._forget_calls()

    def receive(self, data: bytes) -> list[Call]:
        """Take what the server sent, in pieces of any size, and return the calls that ended with it."""
        streams = self._connection.receive(data)
        ended = self._answered() if self._stream else []
        for stream in streams:
            ended += self._end(stream)
        return ended

    def _begin(self) -> None:
        self._stream = Exchange(Body(b""))
        self._stream.parts = []
        self._granted = self._taken = 0
        self._needed = _PREFIX
        self._connection.open(self._stream)

    def _answered(self) -> list[Call]:
        stream = self._stream
        assert stream
        if stream.received - self._granted > _REPLENISH:
            self._connection.replenish(stream, stream.received - self._granted)
            self._granted = stream.received
        if stream.received - self._taken < self._needed:
            return []
        return [call for answer in self._answers(stream) if (call := self._settle(answer))]

    def _answers(self, stream: Exchange) -> list[bytes]:
        """Return the whole messages of a stream that holds at least one, or its prefix; each with its prefix."""
        data, position = b"".join(stream.parts or ()), 0
        found: list[bytes] = []
        self._needed = _PREFIX
        while len(data) - position >= _PREFIX:
            size = _PREFIX + int.from_bytes(data[position + 1 : position + _PREFIX], "big")
            if position + size > len(data):
                self._needed = size
                break
            found.append(data[position : position + size])
            position += size
        stream.parts = [data[position:]]
        self._taken += position
        return found

    def _settle(self, answer: bytes) -> Call | None:
        """End the call that is answered, if it is under way; the answer has gRPC's prefix."""
        try:
            message = dict(fields(answer[_PREFIX:]))
            trailers = _trailers(_text(message, _ERROR)) if _ERROR in message else _OK
            call = self._calls.pop(int(_text(message, _ID), 16))
        except (KeyError, ValueError):  # nobody's: not of this API, or cancelled
            return None
        call.received = len(answer)
        call.trailers = trailers
        if call.parts is not None:
            call.parts = [answer]
        return call

    def _end(self, stream: Exchange) -> list[Call]:
        self._stream = None
        calls = self._forget_calls()
        for call in calls:
            call.head, call.trailers = stream.head, stream.trailers
            call.reset, call.unprocessed = stream.reset, stream.unprocessed
        return calls

    def _forget_calls(self) -> list[Call]:
        calls = list(self._calls.values())
        self._calls.clear()
        return calls


def _request(call: Call) -> bytes:
    message = call.body.content
    size = len(message) - _PREFIX + len(_ID_HEAD) + _ID_SIZE
    return b"\0" + size.to_bytes(4, "big") + _ID_HEAD + b"%08x" % call.stream_id + message[_PREFIX:]


def _trailers(error: bytes) -> bytes:
    """Return the header block with which the call would have failed if it had been alone."""
    status = dict(fields(error))
    headers = [("grpc-status", str(_varint(status, _CODE))), ("grpc-message", quote(_text(status, _MESSAGE)))]
    return Encoder().encode(headers, huffman=False)


def _text(message: dict[int, int | bytes], field: int) -> bytes:
    value = message.get(field, b"")
    if isinstance(value, int):
        raise ValueError(f"field {field} is a number")
    return value


def _varint(message: dict[int, int | bytes], field: int) -> int:
    value = message.get(field, 0)
    if isinstance(value, bytes):
        raise ValueError(f"field {field} is not a number")
    return value
