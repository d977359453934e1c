"""One call: its messages in and out, its status, and what its handler is given as context."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import AbortError, UsageError

from vecserve_wire import frames
from vecserve_wire.headers import RESPONSE_HEAD, Head, Metadata, trailers
from vecserve_wire.messages import PREFIX, MessageError, MessageReader, prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vecserve_wire.connection import Connection

logger = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OK, _CANCELLED, _UNKNOWN, _INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _UNAVAILABLE = 0, 1, 2, 3, 4, 14
_MOST_UNSENT = 64


class Call:
    """A stream of one connection, from its headers to its status.

    Handlers get it as their context: it has the part of `grpc.aio.ServicerContext` that they use.
    """

    __slots__ = (
        "_code",
        "_connection",
        "_details",
        "_done",
        "_ended",
        "_handler",
        "_head",
        "_headed",
        "_inbox",
        "_outbox",
        "_reader",
        "_receivable",
        "_received_all",
        "_sending",
        "_task",
        "_timeout",
        "_timer",
        "_trailers",
        "_trailing",
        "_unread",
        "_wakers",
        "_window",
        "deadline",
        "stream_id",
    )

    def __init__(
        self,
        connection: "Connection",
        stream_id: int,
        head: Head,
        timeout: float | None,
        window: int,
        on_end: "list[Callable[[object], None]]",
    ) -> None:
        """Opens it, `timeout` seconds being left; `window` is what the peer takes of its messages as yet."""
        limits = connection.limits
        self.stream_id = stream_id
        self._connection = connection
        self._sending = connection.sending
        self._head = head
        self._timeout = timeout
        self._handler: Any = None
        self._reader = MessageReader(head.encoding, limits.max_receive_bytes)
        self._receivable = limits.window
        self._received_all = False
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._window = window
        self._outbox: deque[memoryview] = deque()
        self._trailers: bytes | None = None
        self._trailing: Metadata = ()
        self._headed = False
        self._ended = False
        self._code: int | None = None
        self._details = ""
        self._task: asyncio.Task[None] | None = None
        self._wakers: list[asyncio.Future[None]] = []
        self._done = on_end
        self._timer: asyncio.TimerHandle | None = None
        self.deadline: float | None = None
        """In the event loop's time."""

    def begin(self, handler: Any) -> None:
        """Hands it to what answers it: at once if that reads messages by itself, else when its message is there."""
        self._handler = handler
        loop, timeout = self._connection.loop, self._timeout
        if timeout is not None:
            self.deadline = loop.time() + timeout
            self._timer = loop.call_later(timeout, self._expire)
        if handler.request_streaming:
            self._start()

    # What comes from the peer.

    def receive(self, data: bytes, size: int, *, last: bool) -> None:
        """Takes a DATA frame's content; `size` is what it took of the window."""
        self._receivable -= size
        if self._received_all or self._receivable < 0:
            self._break_off(frames.STREAM_CLOSED if self._received_all else frames.FLOW_CONTROL_ERROR)
            return
        self._received_all = last
        try:
            messages = self._reader.feed(data) if data else []
        except MessageError as error:
            self._fail(error.code, str(error))
            return
        self._inbox.extend(messages)
        if self._handler.request_streaming:
            self._unread += sum(map(len, messages)) + PREFIX.size * len(messages)
            self._wake()
        elif last or len(self._inbox) > 1:  # which is refused, and not collected until there is an end
            self._start()
            return
        self._acknowledge()

    def end_of_requests(self) -> None:
        """The peer sends no more, as it says with trailers."""
        self.receive(b"", 0, last=True)

    def grow_window(self, size: int) -> None:
        """The peer takes so many more bytes; as many fewer if negative."""
        self._window += size
        if self._window > frames.MAX_WINDOW:
            self._break_off(frames.FLOW_CONTROL_ERROR)
        elif self._outbox:
            self._sending.pump(self)

    def cancel(self) -> None:
        """The peer, or the connection, has gone: nobody waits for an answer."""
        self._end()
        if self._task:
            self._task.cancel()

    def give_up(self) -> None:
        """The server ends, and waits no longer for the handler."""
        self._fail(_UNAVAILABLE, "the server is shutting down")

    def _acknowledge(self) -> None:
        """Lets the peer send more, once it has used half of its window, unless the handler is behind with reading."""
        window = self._connection.limits.window
        if self._receivable <= window // 2 and self._unread < window and not self._received_all:
            self._sending.write(frames.window_update(self.stream_id, window - self._receivable))
            self._receivable = window

    def _start(self) -> None:
        if not self._task:
            self._task = self._connection.loop.create_task(self._run())
            self._task.add_done_callback(self._tell_if_done)

    def _expire(self) -> None:
        if self._outbox:  # a status would wait behind messages that the peer does not take
            self._code = _DEADLINE_EXCEEDED
            self._abandon(frames.CANCEL)
            return
        self._fail(_DEADLINE_EXCEEDED, "the deadline has passed")

    def _fail(self, code: int, message: str) -> None:
        """Ends the call with a status, whatever its handler does."""
        task = self._task
        self._finish(code, message)
        if task:
            task.cancel()

    # What goes to it.

    async def _run(self) -> None:
        try:
            await self._answer()
            self._finish(self._code or _OK, self._details)
        except AbortError:
            self._finish(_UNKNOWN if self._code is None else self._code, self._details)
        except MessageError as error:
            self._finish(error.code, str(error))
        except asyncio.CancelledError:
            self._finish(_CANCELLED, "the server gave the call up")
        except Exception:
            logger.exception("the handler of %s failed", self._head.path)
            self._finish(_UNKNOWN, "the handler failed")

    async def _answer(self) -> None:
        handler = self._handler
        request = self if handler.request_streaming else self._parsed(self._only_message())
        if not handler.response_streaming:
            respond = handler.stream_unary if handler.request_streaming else handler.unary_unary
            self._send(handler.response_serializer(await respond(request, self)), last=True)
            return
        respond = handler.stream_stream if handler.request_streaming else handler.unary_stream
        responses = respond(request, self)
        if hasattr(responses, "__aiter__"):
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await self.write(response)
        else:
            await responses

    def _parsed(self, message: bytes) -> Any:
        plain = self._reader.plain(message)
        try:
            return self._handler.request_deserializer(plain)
        except Exception as error:  # protobuf's, or whatever the handler reads messages with
            raise MessageError(_INVALID_ARGUMENT, "a message is not one of its type: check the proto") from error

    def _only_message(self) -> bytes:
        if len(self._inbox) != 1 or self._reader.held:
            count = f"{len(self._inbox)}{' and a part of one' if self._reader.held else ''}"
            raise MessageError(_INVALID_ARGUMENT, f"the call takes one message, and {count} came")
        return self._inbox.popleft()

    def _send(self, message: bytes, *, last: bool = False) -> None:
        """Sends a message, and with the last one the status too."""
        sending = self._sending
        prefix = prefix_of(message, self._connection.limits.max_send_bytes)
        if self._ended:
            return
        block = None
        if last:
            self._code = self._code or _OK
            block = trailers(self._code, self._details, self._trailing)
        head = b"" if self._headed else self._header_frame()
        self._headed = True
        size = len(prefix) + len(message)
        if not self._outbox and sending.takes(size) and size <= self._window:
            self._window -= size
            sending.window -= size
            # A large message is copied once, when all that is sent in this round is joined.
            frame_start = frames.frame_head(frames.DATA, 0, size) + frames.pack_stream_id(self.stream_id)
            sending.write(head + frame_start + prefix)
            sending.write(message)
            if block is not None:
                self._close(block)
            return
        sending.write(head)
        self._outbox.append(memoryview(prefix + message))
        self._trailers = block
        sending.pump(self)

    def pump(self) -> bool:
        """Sends of what waits as much as the windows allow; whether the connection's did not end it."""
        sending = self._sending
        while self._outbox and not self._ended:
            data = self._outbox[0]
            size = min(len(data), self._window, sending.window, sending.frame_size)
            if size <= 0 or sending.paused:
                return self._window <= 0  # goes on with its own window then, and keeps nobody else waiting
            self._window -= size
            sending.window -= size
            sending.write(frames.frame(frames.DATA, 0, self.stream_id, bytes(data[:size])))
            self._outbox[0] = data[size:]
            if size == len(data):
                self._outbox.popleft()
        self._wake()
        if self._trailers is not None and not self._ended:
            self._close(self._trailers)
        return True

    def _finish(self, code: int, message: str) -> None:
        if self._ended or self._trailers is not None:
            return
        self._code, self._details = code, message
        block = trailers(code, message, self._trailing)
        if self._outbox:
            self._trailers = block
        else:
            self._close(block)

    def _close(self, block: bytes) -> None:
        """Sends the status."""
        head = b"" if self._headed else RESPONSE_HEAD
        frame = frames.headers(self.stream_id, self._sending.block_start + head + block, last=True)
        if not self._received_all:  # what it still sends is for nobody
            frame += frames.rst_stream(self.stream_id, frames.NO_ERROR)
        self._sending.write(frame)
        self._connection.strikes.forgive()
        self._end()

    def _abandon(self, error_code: int) -> None:
        """Ends the stream without a status."""
        self._sending.write(frames.rst_stream(self.stream_id, error_code))
        self.cancel()

    def _break_off(self, error_code: int) -> None:
        """Ends the stream for what the peer did, which is its way too to have calls begun for nothing."""
        self._abandon(error_code)
        self._connection.count_reset()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer:
            self._timer.cancel()
        self._outbox.clear()
        self._inbox.clear()
        self._connection.closed(self)
        self._wake()
        self._tell_if_done()

    def _tell_if_done(self, _: object = None) -> None:
        """Tells those who want to know once the call has ended for its peer and its handler, whichever comes last."""
        if self._ended and (self._task is None or self._task.done()):
            for callback in self._done:
                callback(self)
            self._done.clear()
            # Its context may lead back here: a cycle, for which all calls would wait for the garbage collector.
            self._task = None

    def _header_frame(self) -> bytes:
        return frames.headers(self.stream_id, self._sending.block_start + RESPONSE_HEAD)

    def _wake(self) -> None:
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)
        self._wakers.clear()

    async def _change(self) -> None:
        waker = self._connection.loop.create_future()
        self._wakers.append(waker)
        await waker

    # What handlers use.

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._inbox:
            if self._received_all or self._ended:
                raise StopAsyncIteration
            await self._change()
        message = self._inbox.popleft()
        self._unread -= PREFIX.size + len(message)
        self._acknowledge()
        try:
            return self._parsed(message)
        except MessageError as error:  # told here: whoever reads may do so in a task of its own
            self._fail(error.code, str(error))
            raise StopAsyncIteration from error

    async def write(self, message: Any) -> None:
        """Sends one of several responses; returns when there is room for the next. UsageError: the call has ended."""
        self._send(self._handler.response_serializer(message))
        if len(self._sending.unsent) > _MOST_UNSENT:
            await asyncio.sleep(0)  # handlers that wait for nothing else would never let them go
        while self._outbox and not self._ended:
            await self._change()
        if self._ended:
            raise UsageError("the call has ended")

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """Ends the call with a status, by an exception."""
        self._code, self._details = code.value[0], details
        self._trailing = trailing_metadata or self._trailing
        raise AbortError(details)

    def invocation_metadata(self) -> Metadata:
        return self._head.metadata

    def trailing_metadata(self) -> Metadata:
        return self._trailing

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """As generated code does for methods that a servicer lacks."""
        self._code = code.value[0]

    def set_details(self, details: str) -> None:
        """As `set_code`."""
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        return None if self._code is None else _CODES[self._code]

    def time_remaining(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - self._connection.loop.time())

    def peer(self) -> str:
        return self._connection.peer

    def add_done_callback(self, callback: Any) -> None:
        self._done.append(callback)
