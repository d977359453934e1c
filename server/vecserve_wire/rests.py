"""Whether a connection is read; and rests, in which it is not, so that what comes meanwhile is read in one go.

A refusal takes less time than to be woken up for it, which puts off whoever computes as well. Network drivers do the
same with packets under load.
"""

import asyncio


class Rests:
    """Of all connections of a server: those that rest end it together."""

    def __init__(self, seconds: float) -> None:
        """A rest takes up to so long; with 0 there are none."""
        self.seconds = seconds
        self._resting: list[Reading] = []

    def begin(self, reading: "Reading", loop: asyncio.AbstractEventLoop) -> None:
        """Has `reading.end_rest` called when it is over."""
        if not self._resting:
            loop.call_later(self.seconds, self._end)
        self._resting.append(reading)

    def _end(self) -> None:
        resting, self._resting = self._resting, []
        for reading in resting:
            reading.end_rest()


class Reading:
    """Of one connection: neither while its peer does not take what was sent, nor while it rests."""

    def __init__(self, rests: Rests, loop: asyncio.AbstractEventLoop) -> None:
        self._rests = rests
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._held = self._resting = False
        self.delay = 0.0
        """Seconds for which what is read now may have waited."""

    def start(self, transport: asyncio.Transport) -> None:
        """The connection is there, and is read."""
        self._transport = transport

    def hold(self) -> None:
        """Reads nothing until `release`."""
        self._held = True
        self._set()

    def release(self) -> None:
        self._held = False
        self._set()

    def rest(self) -> None:
        """Reads nothing for a moment."""
        if self._rests.seconds and not self._resting:
            self._resting = True
            self._rests.begin(self, self._loop)
            self._set()

    def end_rest(self) -> None:
        """Reads what has come meanwhile."""
        self._resting = False
        self.delay = self._rests.seconds
        self._set()

    def _set(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held or self._resting:
            transport.pause_reading()
        else:
            transport.resume_reading()
