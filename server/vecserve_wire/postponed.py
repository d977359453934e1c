"""Answers that wait for the first bytes of a call, but not for long."""

import asyncio
from typing import Protocol

_LATE_SECONDS = 0.1


class Send(Protocol):
    """Answers a stream with a header block; `last` says that the peer sends no more on it."""

    def __call__(self, stream_id: int, block: bytes, *, last: bool) -> None: ...


class Postponed:
    """Of one connection. What comes on these streams is not kept, and their windows do not grow."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._loop = loop
        self._blocks: dict[int, bytes] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._blocks

    def add(self, stream_id: int, block: bytes) -> None:
        """Answers a stream as soon as something came on it, or is late."""
        self._blocks[stream_id] = block
        self._timers[stream_id] = self._loop.call_later(_LATE_SECONDS, self.answer, stream_id)

    def answer(self, stream_id: int, *, last: bool = False) -> None:
        """Answers a stream now."""
        block = self._blocks[stream_id]
        self.forget(stream_id)
        self._send(stream_id, block, last=last)

    def answer_all(self) -> None:
        """Answers every stream now: the connection ends."""
        for stream_id in list(self._blocks):
            self.answer(stream_id)

    def forget(self, stream_id: int) -> None:
        """The peer has given a stream up."""
        if self._blocks.pop(stream_id, None) is not None:
            self._timers.pop(stream_id).cancel()

    def forget_all(self) -> None:
        """The connection is gone."""
        for stream_id in list(self._blocks):
            self.forget(stream_id)
