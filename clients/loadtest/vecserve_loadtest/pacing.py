"""When the next call is due. Pure: the caller tells the time, in seconds on a clock of its choice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vecserve_loadtest.plan import ClosedLoop, OpenLoop

_BLOCK = 1024


@dataclass(slots=True)
class Window:
    """The time of one load that is measured, from `start` to `stop`; the load begins at `begin`."""

    begin: float
    start: float
    stop: float
    """Comes earlier when the load has had its number of calls."""


class Pacer(Protocol):
    """Says when calls are due, and from when their latency counts."""

    held: int
    """Calls taken that were due earlier and could not be sent then."""

    def due(self, now: float, in_flight: int) -> float | None:
        """Return the intended time of the call that is to be sent now, if there is one."""
        ...

    def take(self) -> float:
        """Return the intended time of the call that was due last, and go on to the next."""
        ...

    def hold(self, now: float) -> None:
        """Note that what is due can't be sent now."""
        ...

    def wake(self, now: float, /) -> float:
        """Return when a call falls due by itself; infinity where only the end of another brings one about."""
        ...

    def finished(self, now: float, /) -> bool:
        """Return whether no call will be due any more."""
        ...


def pacer(loop: ClosedLoop | OpenLoop, window: Window, calls: int | None = None) -> Pacer:
    """Return what paces a loop from the window's beginning to its stop.

    Args:
        loop: How calls follow each other.
        window: When they do. Of an open loop, `stop` is brought forward to when the call after the last would be due.
        calls: How many are due between the window's start and stop at most; a closed loop leaves that to the ledger.
    """
    return ClosedPacer(loop, window) if isinstance(loop, ClosedLoop) else OpenPacer(loop, window, calls)


class ClosedPacer:
    """A call is due whenever fewer are in flight than there should be; it is intended when it is sent."""

    def __init__(self, loop: ClosedLoop, window: Window) -> None:
        self.held = 0
        self._concurrency = loop.concurrency
        self._window = window
        self._due = math.nan

    def due(self, now: float, in_flight: int) -> float | None:
        if in_flight >= self._concurrency or now >= self._window.stop:
            return None
        self._due = now
        return now

    def take(self) -> float:
        return self._due

    def hold(self, now: float) -> None:
        pass  # what is intended when it is sent can't be late

    def wake(self, _now: float, /) -> float:
        return math.inf

    def finished(self, now: float) -> bool:
        return now >= self._window.stop


class OpenPacer:
    """Calls are due by a schedule. What can't be sent at its time stays due, also beyond the window's stop."""

    def __init__(self, loop: OpenLoop, window: Window, calls: int | None = None) -> None:
        self.held = 0
        self._max_in_flight = loop.max_in_flight
        self._window = window
        self._left = math.inf if calls is None else calls
        self._offsets = send_offsets(loop)
        self._held_until = -math.inf
        self._next = self._following()

    def due(self, now: float, in_flight: int) -> float | None:
        if self._next > now:
            return None
        if in_flight >= self._max_in_flight:
            self.hold(now)
            return None
        return self._next

    def take(self) -> float:
        taken = self._next
        self.held += taken <= self._held_until
        self._next = self._following()
        return taken

    def hold(self, now: float) -> None:
        self._held_until = now

    def wake(self, now: float) -> float:
        return self._next if self._next > now else math.inf

    def finished(self, _now: float, /) -> bool:
        return self._next == math.inf

    def _following(self) -> float:
        window = self._window
        moment = window.begin + next(self._offsets)
        if moment >= window.start:
            if not self._left:
                window.stop = min(moment, window.stop)
            self._left -= 1
        return moment if moment < window.stop else math.inf


def send_offsets(loop: OpenLoop) -> Iterator[float]:
    """Yield the times of a loop's calls, in seconds from its beginning, without end.

    Constant arrivals begin at the loop's phase; Poisson arrivals have exponential gaps, also before the first.
    """
    if loop.arrivals == "constant":
        first = 0
        while True:
            yield from (loop.phase + np.arange(first, first + _BLOCK) / loop.rate).tolist()
            first += _BLOCK
    random = np.random.default_rng(loop.seed)
    last = 0.0
    while True:
        block = (last + np.cumsum(random.exponential(1 / loop.rate, _BLOCK))).tolist()
        last = block[-1]
        yield from block
