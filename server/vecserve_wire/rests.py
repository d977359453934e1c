"""Whether a connection is read; and rests, in which it is not, so that what comes meanwhile is read in one go.

A refusal takes less time than to be woken up for it, which puts off whoever computes as well. Network drivers do the
same with packets under load.
"""

import asyncio
import math

# Calls that are refused within so many seconds of another, of whichever connection, are taken for part of a flood.
_FLOOD = 0.002

# Of the time that the callers of refused calls have, a rest takes at most this part.
_OF_PATIENCE = 0.08

# By how much the least time that such a caller has grows with each that has more: the last hundred or so count. Of less
# than so many seconds nothing much is left anyway.
_FORGETTING = 1.01
_LEAST_PATIENCE = 0.01


class Rests:
    """Of all connections of a server: those that rest end it together."""

    def __init__(self, seconds: float) -> None:
        """A rest takes up to so long; with 0 there are none."""
        self._longest = seconds
        self._resting: list[Reading] = []
        self._refused_at = -math.inf
        self._patience = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0

    def due(self, now: float, patience: float) -> float:
        """Takes note of a refused call, whose caller would have waited for `patience` seconds.

        Returns how long its connection should rest: 0 unless the call is one of many.
        """
        flood = now - self._refused_at < _FLOOD
        self._refused_at = now
        self._patience = min(max(patience, _LEAST_PATIENCE), _FORGETTING * self._patience)
        return min(self._longest, _OF_PATIENCE * self._patience) if flood else 0.0

    def begin(self, reading: "Reading", seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        """Has `reading.end_rest` called when it is over, or when an earlier one of the others is."""
        ends_at = loop.time() + seconds
        if self._timer is None or ends_at < self._ends_at:
            if self._timer:
                self._timer.cancel()
            self._timer, self._ends_at = loop.call_later(seconds, self._end), ends_at
        self._resting.append(reading)

    def _end(self) -> None:
        self._timer = None
        resting, self._resting = self._resting, []
        for reading in resting:
            reading.end_rest()


class Reading:
    """Has one connection read, unless its peer does not take what was sent, or it rests."""

    def __init__(self, rests: Rests, loop: asyncio.AbstractEventLoop) -> None:
        self._rests = rests
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._can_rest = False
        self._held = self._resting = False
        self._began = 0.0
        self._may_have_waited = False
        """Whether what is read now may have come during the rest that has just ended."""
        self.delay = 0.0
        """Seconds for which what is being read may have waited in a rest."""

    def start(self, transport: asyncio.Transport) -> None:
        """The connection is there, and is read."""
        self._transport = transport
        # With TLS, asyncio goes on reading what is encrypted, and is woken up for it.
        self._can_rest = transport.get_extra_info("sslcontext") is None

    def hold(self) -> None:
        """Reads nothing until `release`."""
        self._held = True
        self._set()

    def release(self) -> None:
        self._held = False
        self._set()

    def refused(self, timeout: float | None) -> None:
        """A call that had so many seconds was answered without a handler: rests, if it is one of many."""
        now = self._loop.time()
        seconds = self._rests.due(now, math.inf if timeout is None else timeout)
        if seconds and self._can_rest and not self._resting:
            self._resting = True
            self._began, self._may_have_waited = now, False
            self._rests.begin(self, seconds, self._loop)
            self._set()

    def end_rest(self) -> None:
        """Reads what has come meanwhile."""
        self._resting, self._may_have_waited = False, True
        self._set()
        # The event loop looks at its sockets between one round and the next.
        self._loop.call_soon(self._loop.call_soon, self._taken)

    def begin(self) -> None:
        """Something is being read."""
        self.delay = self._loop.time() - self._began if self._may_have_waited else 0.0

    def _taken(self) -> None:
        """What came during a rest was read: what comes next has come after it."""
        self._may_have_waited = False

    def _set(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held or self._resting:
            transport.pause_reading()
        else:
            transport.resume_reading()
