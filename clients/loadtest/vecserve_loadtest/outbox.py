"""What a connection has to send, within the windows that the server grants (RFC 9113, section 5.2). Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from vecserve_wire.frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW,
    ProtocolError,
    frame_head,
    pack_stream_id,
)

TAKE_BYTES: Final = 2**18
"""Most bytes of queued bodies that one take holds: enough to fill a socket's buffer."""


class Body:
    """A request's message, in the form that costs a call the least.

    Args:
        message: The serialized message.
    """

    __slots__ = ("content", "frame_head", "size")

    def __init__(self, message: bytes) -> None:
        # gRPC's own header of a message: that it is not compressed, and its length.
        self.content = b"\0" + len(message).to_bytes(4, "big") + message
        self.size = len(self.content)
        self.frame_head = frame_head(DATA, END_STREAM, min(self.size, DEFAULT_FRAME_SIZE))
        """Of the one frame that holds it all, where it is small enough."""


class HeaderBlock:
    """A request's header block, which must fit into one frame."""

    __slots__ = ("block", "frame_head")

    def __init__(self, block: bytes) -> None:
        if len(block) > DEFAULT_FRAME_SIZE:
            raise ValueError(f"metadata takes {len(block)} bytes, and at most {DEFAULT_FRAME_SIZE} are allowed")
        self.block = block
        self.frame_head = frame_head(HEADERS, END_HEADERS, len(block))


@dataclass(slots=True)
class _Upload:
    """What goes out on one stream, as its windows let it through."""

    rest: memoryview
    window: int
    ends: bool = True
    """Whether the stream ends with it."""
    later: deque[bytes] = field(default_factory=deque[bytes])
    """What was written after `rest`, to a stream that stays open."""


class Outbox:
    """Frames in the order in which they go out; bodies beyond the windows wait, first come first served."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._uploads: dict[int, _Upload] = {}
        self._open: dict[int, _Upload] = {}
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME_SIZE
        self._at_once = DEFAULT_FRAME_SIZE

    @property
    def uploading(self) -> bool:
        """Whether bodies wait, in whole or in part."""
        return bool(self._uploads)

    def add(self, frame: bytes) -> None:
        """Send a frame that no window holds back."""
        self._parts.append(frame)

    def add_request(self, stream_id: int, headers: HeaderBlock, body: Body) -> None:
        """Send a request."""
        packed = pack_stream_id(stream_id)
        size = body.size
        if size <= self._at_once and size <= self._window and not self._uploads:
            self._window -= size
            self._parts += (headers.frame_head, packed, headers.block, body.frame_head, packed, body.content)
        else:
            self._parts += (headers.frame_head, packed, headers.block)
            self._uploads[stream_id] = _Upload(memoryview(body.content), self._stream_window)

    def open(self, stream_id: int, headers: HeaderBlock) -> None:
        """Begin a request that has no end: what it consists of is written to it."""
        self._parts += (headers.frame_head, pack_stream_id(stream_id), headers.block)
        self._open[stream_id] = _Upload(memoryview(b""), self._stream_window, ends=False)

    def write(self, stream_id: int, data: bytes) -> None:
        """Send more on a stream that was opened."""
        upload = self._open[stream_id]
        if upload.rest:
            upload.later.append(data)
        else:
            upload.rest = memoryview(data)
            self._uploads[stream_id] = upload

    def take(self) -> bytes:
        """Return what can be sent now and is not to be had again; empty where there is nothing."""
        if self._uploads and self._window > 0:
            self._upload()
        if not self._parts:
            return b""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

    def drop(self, stream_id: int) -> bool:
        """Forget what is left of a request; return whether anything was, as there always is of one that has no end."""
        had_no_end = self._open.pop(stream_id, None) is not None
        return self._uploads.pop(stream_id, None) is not None or had_no_end

    def grow(self, stream_id: int, size: int) -> None:
        """Take the server's leave to send `size` more bytes, on one stream or (0) on the connection.

        Raises:
            ProtocolError: If it grows the connection's window beyond what HTTP/2 allows.
        """
        if stream_id:
            if upload := self._open.get(stream_id) or self._uploads.get(stream_id):
                upload.window += size
            return
        self._window += size
        if self._window > MAX_WINDOW:
            raise ProtocolError(f"a window of {self._window} bytes")

    def set_stream_window(self, size: int) -> None:
        """Set the window that streams begin with; those under way gain or lose the difference."""
        for upload in {**self._uploads, **self._open}.values():
            upload.window += size - self._stream_window
        self._stream_window = size
        self._at_once = min(size, DEFAULT_FRAME_SIZE)

    def set_frame_size(self, size: int) -> None:
        """Set the largest payload that the server takes."""
        self._frame_size = size

    def _upload(self) -> None:
        room = TAKE_BYTES
        for stream_id, upload in list(self._uploads.items()):
            while (size := min(self._frame_size, len(upload.rest), upload.window, self._window, room)) > 0:
                last = size == len(upload.rest)
                head = frame_head(DATA, END_STREAM if last and upload.ends else 0, size)
                self._parts += (head, pack_stream_id(stream_id), upload.rest[:size])
                upload.rest = upload.rest[size:]
                upload.window -= size
                self._window -= size
                room -= size
                if last and upload.later:
                    upload.rest = memoryview(upload.later.popleft())
            if not upload.rest:
                del self._uploads[stream_id]
            if room <= 0 or self._window <= 0:
                break
