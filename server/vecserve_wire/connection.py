"""One client's connection: frames in, calls, frames out."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, cast

from vecserve_wire import frames
from vecserve_wire.blocks import BlockReader
from vecserve_wire.call import Call
from vecserve_wire.details import Answer, Details, peer_name
from vecserve_wire.frames import FrameReader, ProtocolError, ReceiveWindow
from vecserve_wire.headers import ForbiddenHeadersError, HeadReader, MalformedRequestError, answer
from vecserve_wire.limits import Limits
from vecserve_wire.postponed import Postponed
from vecserve_wire.rests import Reading, Rests
from vecserve_wire.sending import Sending
from vecserve_wire.timers import Resets, Strikes, Timers

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_UNIMPLEMENTED = 12
# Of the whole connection: streams have limits of their own, and a connection should not be one.
_CONNECTION_WINDOW = 2**26
_LAST_CALLS = b"goodbye!"


class Host(Protocol):
    """What connections need of their server."""

    limits: Limits
    rests: Rests

    def handler(self, details: Details) -> Any | None:
        """What answers a call; None if nothing does."""
        ...

    def opened(self, connection: "Connection") -> bool:
        """Whether there is room for one more connection."""
        ...

    def ended(self, connection: "Connection") -> None:
        """It is gone."""
        ...


class Connection(asyncio.Protocol):
    """Speaks HTTP/2 as a server does."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self.limits = host.limits
        self.loop = loop
        self.peer = ""
        self.sending = Sending(loop)
        self._host = host
        self._reader = FrameReader()
        self._heads = HeadReader(host.limits.max_header_bytes)
        self._calls: dict[int, Call] = {}
        self._preface = frames.PREFACE
        self._greeted = False
        self._due: int | None = frames.SETTINGS
        """The kind of the next frame, where it can be but one."""
        self._receivable = ReceiveWindow(_CONNECTION_WINDOW)
        self._last_id = 0
        self._draining = False
        self._left = False
        self._accepts_until: int | None = None
        self._reading = Reading(host.rests, loop)
        self._blocks = BlockReader(host.limits.max_header_bytes)
        self._resets = Resets(host.limits.max_resets, host.limits.reset_time)
        self._timers = Timers(self, loop)
        self._postponed = Postponed(self._answer, loop)
        self.strikes = Strikes(host.limits.min_ping)
        """Pings that came too early; whoever answers a call forgives them."""
        self._kinds: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.PRIORITY: frames.check_priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: frames.refuse_push,
            frames.PING: self._ping,
            frames.GOAWAY: frames.check_goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
        }

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.sending.start(self._transport)
        self._reading.start(self._transport)
        self.peer = peer_name(self._transport.get_extra_info("peername"))
        if not self._host.opened(self):
            # Without a greeting: clients count it as a failure, and take their time before the next attempt.
            self._transport.abort()
            return
        self._transport.write(self._greeting())
        self._timers.start()

    def data_received(self, data: bytes) -> None:
        if self._left:
            return  # TLS delivers what it still holds
        self._timers.heard()
        self._reading.begin()
        try:
            if self._preface:
                self._preface, data = frames.without_preface(self._preface, data)
            for kind, flags, stream_id, payload in self._reader.feed(data):
                if self._due is not None:
                    self._check_due(kind, flags)
                if handle := self._kinds.get(kind):
                    handle(flags, stream_id, payload)
        except ProtocolError as error:
            self._give_up(error)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        self._timers.stop()
        self._postponed.forget_all()
        self._left = True
        for call in list(self._calls.values()):
            call.cancel()
        self._host.ended(self)

    def pause_writing(self) -> None:
        """What is asked meanwhile would only add to what is not read."""
        self.sending.pause()
        self._reading.hold()

    def resume_writing(self) -> None:
        self._reading.release()
        self.sending.resume()

    # What calls use.

    def closed(self, call: Call) -> None:
        """A call has ended."""
        self._calls.pop(call.stream_id, None)
        self.sending.forget(call)
        if self._accepts_until is not None and not self._calls:
            self._leave()

    # What the server uses.

    @property
    def greeted(self) -> bool:
        """Whether it has said that it speaks HTTP/2."""
        return self._greeted

    def ping(self, content: bytes) -> None:
        """Asks for an answer: 8 bytes, which come back."""
        self.sending.write(frames.frame(frames.PING, 0, 0, content))

    def drain(self) -> None:
        """Has the client go elsewhere with new calls, and ends when those under way have.

        The client answers the ping once it knows, and begins no call after that; those that it began meanwhile are
        answered like others.
        """
        if not self._draining:
            self._draining = True
            self.sending.write(frames.goaway(frames.MAX_WINDOW, frames.NO_ERROR))
            self.ping(_LAST_CALLS)
            self._timers.draining()

    def refuse_calls(self) -> None:
        """Begins no more calls; clients send those that come nevertheless again by themselves, elsewhere."""
        if self._accepts_until is None:
            self._accepts_until = self._last_id
            self.sending.write(frames.goaway(self._last_id, frames.NO_ERROR))
            if not self._calls:
                self._leave()

    def end_calls(self) -> None:
        """Gives up what is under way, and with it the connection."""
        self.refuse_calls()
        for call in list(self._calls.values()):
            call.give_up()

    def end(self, reason: str) -> None:
        """Ends it now, calls or not, and says why."""
        self._say_goodbye(frames.NO_ERROR, reason)

    def abort(self) -> None:
        """Ends it without a word."""
        self._transport.abort()

    def _say_goodbye(self, error_code: int, reason: str) -> None:
        last_id = self._last_id if self._accepts_until is None else self._accepts_until  # which must not grow again
        self.sending.write(frames.goaway(last_id, error_code, reason))
        self._leave()

    def _leave(self) -> None:
        if self._left:
            return
        self._postponed.answer_all()
        self._left = True
        self.sending.flush()
        self._transport.close()
        self._timers.leaving()

    def _give_up(self, error: ProtocolError) -> None:
        logger.debug("%s broke HTTP/2: %s", self.peer, error)
        self._say_goodbye(error.code, str(error))

    def _greeting(self) -> bytes:
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self.limits.max_streams,
            frames.INITIAL_WINDOW_SIZE: self.limits.window,
            frames.MAX_HEADER_LIST_SIZE: self.limits.max_header_bytes,
        }
        return frames.settings(settings) + frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)

    # Frames.

    def _check_due(self, kind: int, flags: int) -> None:
        if self._greeted:
            if kind != self._due:
                raise ProtocolError("a header block was not finished")
            return
        if kind != self._due or flags & frames.ACK:
            raise ProtocolError("the first frame is not SETTINGS")
        self._greeted, self._due = True, None

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if used := self._receivable.take(size):
            self.sending.write(frames.window_update(0, used))
        if flags & frames.PADDED:
            payload = frames.content(frames.DATA, flags, payload)
        if call := self._calls.get(stream_id):
            call.receive(payload, size, last=bool(flags & frames.END_STREAM))
        elif stream_id in self._postponed:
            self._postponed.answer(stream_id, last=bool(flags & frames.END_STREAM))
        elif not 0 < stream_id <= self._last_id:
            raise ProtocolError(f"DATA of stream {stream_id}, which is not open")
        elif flags & frames.END_STREAM:
            self.sending.ended(stream_id)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = frames.content(frames.HEADERS, flags, payload)
        if flags & frames.END_HEADERS:
            self._open(stream_id, payload, last=bool(flags & frames.END_STREAM))
        else:
            self._due = frames.CONTINUATION
            self._blocks.begin(flags, stream_id, payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._blocks.add(flags, stream_id, payload)
        if block is not None:
            self._due = None
            self._open(stream_id, block, last=bool(self._blocks.flags & frames.END_STREAM))

    def _open(self, stream_id: int, block: bytes, *, last: bool) -> None:
        if stream_id <= self._last_id:
            self._trailers(stream_id, block, last=last)
            return
        if not stream_id % 2:
            raise ProtocolError(f"HEADERS of stream {stream_id}, whose number is not a client's")
        self._last_id = stream_id
        try:
            head = self._heads.read(block)
        except MalformedRequestError as error:
            self._answer(stream_id, error.answer, last=last)
            return
        except ForbiddenHeadersError as error:
            logger.debug("%s broke HTTP: %s", self.peer, error)
            self.sending.write(frames.rst_stream(stream_id, frames.PROTOCOL_ERROR))
            return
        if self._accepts_until is not None or len(self._calls) + len(self._postponed) >= self.limits.max_streams:
            self.sending.write(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
            return
        timeout = None if head.timeout is None else max(0.0, head.timeout - self._reading.delay)
        details = Details(head.path, head.metadata, timeout, self.peer, [])
        handler = self._host.handler(details)
        if handler is None:
            handler = Answer(_UNIMPLEMENTED, f"there is no method {head.path!r:.200}")
        if isinstance(handler, Answer):
            self._reading.refused(timeout)
            block = answer(handler.code, handler.message, handler.metadata, handler.own)
            if handler.waits and not last:
                self._postponed.add(stream_id, block)
            else:
                self._answer(stream_id, block, last=last)
            for callback in details.on_end:
                callback(details)
            return
        self._calls[stream_id] = call = Call(self, stream_id, head, timeout, self.sending.stream_window, details.on_end)
        call.begin(handler)
        if last:
            call.end_of_requests()

    def _trailers(self, stream_id: int, block: bytes, *, last: bool) -> None:
        if not stream_id or not last:
            raise ProtocolError(f"HEADERS of stream {stream_id}, which was opened before")
        self._heads.skip(block)
        if call := self._calls.get(stream_id):
            call.end_of_requests()
        elif stream_id in self._postponed:
            self._postponed.answer(stream_id, last=True)
        else:
            self.sending.ended(stream_id)

    def _answer(self, stream_id: int, block: bytes, *, last: bool) -> None:
        """Answers without a call."""
        self.strikes.forgive()
        self.sending.answer(stream_id, block, last=last)

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (all kinds' arguments)
        frames.read_rst_stream(payload)  # why does not matter
        if not 0 < stream_id <= self._last_id:
            raise ProtocolError(f"RST_STREAM of stream {stream_id}, which was never open")
        self._postponed.forget(stream_id)
        if call := self._calls.get(stream_id):
            call.cancel()
            self.count_reset()

    def count_reset(self) -> None:
        """A call was begun for nothing.

        Raises:
            ProtocolError: it was one of too many.
        """
        if self._resets.add(self.loop.time()):
            raise ProtocolError("too many calls were begun only to be reset", frames.ENHANCE_YOUR_CALM)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_settings(flags, stream_id, payload)
        if flags & frames.ACK:
            return
        more = self.sending.obey(frames.read_settings(payload))
        for call in list(self._calls.values()):
            call.grow_window(more)
        self.sending.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_ping(flags, stream_id, payload)
        if not flags & frames.ACK:
            if self.strikes.add(self.loop.time(), idle=not self._calls):
                raise ProtocolError("too_many_pings", frames.ENHANCE_YOUR_CALM)
            self.sending.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _LAST_CALLS:
            self.refuse_calls()

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (all kinds' arguments)
        size = frames.read_window_update(payload)
        if stream_id:
            if call := self._calls.get(stream_id):
                call.grow_window(size)
            elif stream_id > self._last_id:
                raise ProtocolError(f"WINDOW_UPDATE of stream {stream_id}, which was never open")
        else:
            self.sending.grow(size)
