"""Waiting for sockets and for moments."""

import select
import time
from collections.abc import Callable
from typing import TypeAlias

Handler: TypeAlias = Callable[[], None]


class Poller:
    """Calls handlers when their sockets can be read or written.

    By select, for it alone waits to the microsecond: poll and epoll count in milliseconds, and calls would be sent up
    to one late.

    Args:
        interval: Least time between two looks at the sockets, in seconds.
        clock: Source of the time, in seconds.
    """

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._clock = clock
        self._next_look = clock()
        self._readers: dict[int, Handler] = {}
        self._writers: dict[int, Handler] = {}

    def on_readable(self, descriptor: int, handler: Handler) -> None:
        """Call a handler whenever there is something to read."""
        self._readers[descriptor] = handler

    def on_writable(self, descriptor: int, handler: Handler | None) -> None:
        """Call a handler whenever there is room to write; None ends that."""
        if handler is None:
            self._writers.pop(descriptor, None)
        else:
            self._writers[descriptor] = handler

    def forget(self, descriptor: int) -> None:
        """Call no handler for a socket any more."""
        self._readers.pop(descriptor, None)
        self._writers.pop(descriptor, None)

    def hurry(self) -> None:
        """Look again at once, for the sake of a message that comes or goes in parts."""
        self._next_look = 0.0

    def wait(self, until: float) -> None:
        """Wait for a socket, at most until a moment on the clock, and call the handlers of all that are ready."""
        now = self._clock()
        if now < self._next_look:
            time.sleep(max(0.0, min(self._next_look, until) - now))
            if until < self._next_look:
                return
            now = self._clock()
        readable, writable, _ = select.select(self._readers, self._writers, (), max(0.0, until - now))
        self._next_look = self._clock() + self._interval
        for handlers, ready in ((self._writers, writable), (self._readers, readable)):
            for descriptor in ready:
                if handler := handlers.get(descriptor):  # unless another handler has closed the socket
                    handler()
