"""Header blocks that come in several frames. Pure."""

from vecserve_wire.frames import END_HEADERS, ENHANCE_YOUR_CALM, ProtocolError

_MOST_PARTS = 32


class BlockReader:
    """Puts a HEADERS frame and its CONTINUATIONs together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._stream_id = 0
        self.flags = 0
        """Of the HEADERS frame."""

    def begin(self, flags: int, stream_id: int, content: bytes) -> None:
        """Takes a HEADERS frame that does not end its block."""
        self._parts, self._stream_id, self.flags = [content], stream_id, flags

    def add(self, flags: int, stream_id: int, payload: bytes) -> bytes | None:
        """Takes a CONTINUATION; returns the block that it ends, if it does.

        Raises:
            ProtocolError: it continues nothing, or the block gets too large.
        """
        if not self._parts or stream_id != self._stream_id:
            raise ProtocolError("a CONTINUATION of nothing")
        self._parts.append(payload)
        if sum(map(len, self._parts)) > self._max_bytes or len(self._parts) > _MOST_PARTS:
            raise ProtocolError("headers are larger than allowed", ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            return None
        block, self._parts = b"".join(self._parts), []
        return block
