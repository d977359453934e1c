"""When the next call is due. Pure: the caller tells the time, in seconds on a clock of its choice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vecserve_loadtest.plan import ClosedLoop, OpenLoop

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is measured, from `start` to `stop`; the loads begin at `begin`."""

    begin: float
    start: float
    stop: float


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


def pacer(loop: ClosedLoop | OpenLoop, window: Window) -> Pacer:
    """Return what paces a loop from the window's beginning to its stop."""
    return ClosedPacer(loop, window) if isinstance(loop, ClosedLoop) else OpenPacer(loop, window)


class ClosedPacer:
    """A call is due whenever fewer are in flight than there should be; it is intended when it is sent."""

    def __init__(self, loop: ClosedLoop, window: Window) -> None:
        self.held = 0
        self._concurrency = loop.concurrency
        self._stop = window.stop
        self._due = math.nan

    def due(self, now: float, in_flight: int) -> float | None:
        if in_flight >= self._concurrency or now >= self._stop:
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
        return now >= self._stop


class OpenPacer:
    """Calls are due by a schedule. What can't be sent at its time stays due, also beyond the window's stop."""

    def __init__(self, loop: OpenLoop, window: Window) -> None:
        self.held = 0
        self._max_in_flight = loop.max_in_flight
        self._window = window
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
        moment = self._window.begin + next(self._offsets)
        return moment if moment < self._window.stop else math.inf


def send_offsets(loop: OpenLoop) -> Iterator[float]:
    """Yield the times of a loop's calls, in seconds from its beginning, without end.

    Constant arrivals begin at 0; Poisson arrivals have exponential gaps, also before the first.
    """
    if loop.arrivals == "constant":
        first = 0
        while True:
            yield from (np.arange(first, first + _BLOCK) / loop.rate).tolist()
            first += _BLOCK
    random = np.random.default_rng(loop.seed)
    last = 0.0
    while True:
        block = (last + np.cumsum(random.exponential(1 / loop.rate, _BLOCK))).tolist()
        last = block[-1]
        yield from block
