"""What goes out on one connection."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from vecserve_wire import frames
from vecserve_wire.frames import ProtocolError
from vecserve_wire.headers import NO_TABLE

_WRITE_BUFFER = 2**20
_USUAL_TABLE_SIZE = 4096


class Sender(Protocol):
    """Has messages that wait until the peer takes them."""

    def pump(self) -> bool:
        """Sends of them as much as the windows allow; whether the connection's did not end it."""
        ...


class Sending:
    """Frames of one connection, those of a round of the event loop together; messages as its peer takes them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.window = frames.DEFAULT_WINDOW
        """Bytes of messages that the peer takes, over all calls."""
        self.stream_window = frames.DEFAULT_WINDOW
        """Bytes that it takes of a new call."""
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        """Largest frame that it takes."""
        self.paused = False
        """Whether it does not read what was sent."""
        self.block_start = b""
        """Of all header blocks: says that they use no table, to a peer that allows none as large as is usual."""
        self.unsent: list[bytes] = []
        """Frames of this round of the event loop."""
        self._loop = loop
        self._answered: set[int] = set()
        """Streams answered in this round without a call, whose peer has not ended them yet."""
        self._waiting: dict[Sender, None] = {}

    def start(self, transport: asyncio.Transport) -> None:
        """The connection is there."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER)

    def write(self, data: bytes) -> None:
        """Sends frames, together with all others of this round of the event loop."""
        if not self.unsent:
            self._loop.call_soon(self.flush)
        self.unsent.append(data)

    def answer(self, stream_id: int, block: bytes, *, last: bool) -> None:
        """Answers with headers alone; unless the stream's `last` comes in this round, it is reset."""
        self.write(frames.headers(stream_id, self.block_start + block, last=True))
        if not last:
            self._answered.add(stream_id)

    def ended(self, stream_id: int) -> None:
        """The peer has ended a stream itself."""
        self._answered.discard(stream_id)

    def flush(self) -> None:
        """Sends now what was written in this round."""
        if self.unsent:
            self.unsent += [frames.rst_stream(stream_id, frames.NO_ERROR) for stream_id in self._answered]
            self._answered.clear()
            data = b"".join(self.unsent)
            self.unsent.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def takes(self, size: int) -> bool:
        """Whether a message of so many bytes can go at once, in one frame."""
        return size <= self.window and size <= self.frame_size and not self.paused

    def pump(self, sender: Sender) -> None:
        """Sends what waits of one, now or when the peer takes it."""
        if not sender.pump():
            self._waiting[sender] = None

    def forget(self, sender: Sender) -> None:
        """Has one wait no longer."""
        self._waiting.pop(sender, None)

    def pause(self) -> None:
        """The peer does not read what was sent."""
        self.paused = True

    def resume(self) -> None:
        """It does again."""
        self.paused = False
        self._pump_all()

    def grow(self, size: int) -> None:
        """The peer takes so many more bytes.

        Raises:
            ProtocolError: it would be more than HTTP/2 allows.
        """
        self.window += size
        if self.window > frames.MAX_WINDOW:
            raise ProtocolError("the connection's window is too large", frames.FLOW_CONTROL_ERROR)
        self._pump_all()

    def obey(self, settings: Mapping[int, int]) -> int:
        """Takes note of what the peer has set; how many more bytes it takes of each call, fewer if negative."""
        before = self.stream_window
        self.stream_window = settings.get(frames.INITIAL_WINDOW_SIZE, before)
        # Larger frames would only delay other calls' messages.
        self.frame_size = min(settings.get(frames.MAX_FRAME_SIZE, self.frame_size), 2**16)
        if settings.get(frames.HEADER_TABLE_SIZE, _USUAL_TABLE_SIZE) < _USUAL_TABLE_SIZE:
            self.block_start = NO_TABLE
        return self.stream_window - before

    def _pump_all(self) -> None:
        for sender in list(self._waiting):
            if self.paused or self.window <= 0:
                return
            self._waiting.pop(sender, None)
            if not sender.pump():
                self._waiting[sender] = None  # at the end: each gets its turn
