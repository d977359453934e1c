"""The connections of one load."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vecserve_loadtest.calls import Call
from vecserve_loadtest.connection import Connection
from vecserve_loadtest.headers import Headers
from vecserve_loadtest.link import AnyConnection, Endpoint, Link
from vecserve_loadtest.poller import Poller
from vecserve_loadtest.result import ConnectionCounts
from vecserve_loadtest.stream import StreamConnection

RECONNECT_AFTER: Final = 0.1
"""Seconds between the beginnings of two attempts in one connection's place."""


class Ended(NamedTuple):
    """Calls that are over as far as their connection goes."""

    calls: list[Call]
    now: float
    """When that was, in seconds on the clock."""
    answered: bool
    """Whether the server ended them; else the connection was lost."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where connections lead, and what is sent over them."""

    endpoints: Sequence[Endpoint]
    headers: Headers
    connect_timeout: float
    """Seconds until the server's settings must be there."""
    streamed: bool
    """Whether all calls of a connection go over one stream."""

    def connection(self) -> AnyConnection:
        """Return the protocol of a new connection."""
        return StreamConnection(self.headers) if self.streamed else Connection(self.headers)


class Pool:
    """Keeps so many connections open, and replaces those that end.

    Args:
        target: Where they lead.
        size: How many there are.
        poller: Tells when sockets are ready.
        clock: Source of the time, in seconds.

    Attributes:
        counts: What became of the connections so far.
        wake: When to `tend` next, on the clock; infinity where only a server can bring it about.
    """

    def __init__(self, target: Target, size: int, poller: Poller, clock: Callable[[], float]) -> None:
        self.counts = ConnectionCounts(0, 0, 0, "")
        self.wake = clock()
        self._target = target
        self._poller = poller
        self._clock = clock
        self._endpoint = 0
        self._ended: list[Ended] = []
        self._missing = [self.wake] * size  # for each connection, when to begin it
        self._links: list[Link] = []
        self._leaving: list[Link] = []  # with calls under way, but open to no more

    @property
    def complete(self) -> bool:
        """Whether every connection is there and ready."""
        return not self._missing and all(link.connection.ready for link in self._links)

    @property
    def down(self) -> bool:
        """Whether there is no connection, and none is being made until it is time to try again."""
        return not self._links

    def pick(self) -> Link | None:
        """Return the link with the fewest calls that takes another; None where none does."""
        best, fewest = None, math.inf
        for link in self._links:
            connection = link.connection
            if connection.in_flight < fewest and connection.accepting:
                best, fewest = link, connection.in_flight
        return best

    def take_ended(self) -> list[Ended]:
        """Return what ended since this was asked last."""
        ended, self._ended = self._ended, []
        return ended

    def tend(self, now: float) -> None:
        """Connect where it is time to, and give up what takes too long."""
        if now < self.wake:
            return
        for link in [each for each in self._links if now >= self._greeting_due(each)]:
            self._lose(link, TimeoutError(f"no HTTP/2 greeting within {self._target.connect_timeout:g} s"))
        due = sum(moment <= now for moment in self._missing)
        self._missing = [moment for moment in self._missing if moment > now]
        for _ in range(due):
            self._connect(now)
        self._set_wake()

    def flush(self) -> None:
        """Send what was given to the links."""
        for link in (*self._links, *self._leaving):
            try:
                link.flush()
            except OSError as error:
                self._lose(link, error)

    def close(self) -> list[Call]:
        """Close every connection, and return the calls that were under way."""
        calls = [call for link in (*self._links, *self._leaving) for call in link.close()]
        self._links.clear()
        self._leaving.clear()
        self._missing.clear()
        return calls

    def _connect(self, now: float) -> None:
        endpoint = self._target.endpoints[self._endpoint]
        try:
            self._links.append(Link(endpoint, self._target.connection(), self._poller, self._read, self._resume, now))
        except OSError as error:
            self._refused(endpoint, error)
            self._missing.append(now + RECONNECT_AFTER)

    def _read(self, link: Link) -> None:
        was_ready = link.connection.ready
        try:
            ended = link.read()
        except OSError as error:
            self._lose(link, error)
            return
        now = self._clock()
        if ended:
            self._ended.append(Ended(ended, now, True))
        if link.connection.ready and not was_ready:
            self.counts.opened += 1
            self._set_wake()
        if link.connection.broken:
            self._lose(link, link.connection.broken)
        elif link.connection.closing:
            self._retire(link, now)

    def _resume(self, link: Link) -> None:
        try:
            link.resume()
        except OSError as error:
            self._lose(link, error)

    def _retire(self, link: Link, now: float) -> None:
        if link in self._links:
            self._links.remove(link)
            self._leaving.append(link)
            self._replace(link, now)
        if not link.connection.in_flight:
            self._leaving.remove(link)
            link.close()

    def _lose(self, link: Link, error: Exception) -> None:
        calls = link.close()
        now = self._clock()
        if link in self._leaving:
            self._leaving.remove(link)
        else:
            self._links.remove(link)
            self._replace(link, now)
            if link.connection.ready:
                self.counts.lost += 1
                self.counts.error = str(error)
            else:
                self._refused(link.endpoint, error)
        if calls:
            self._ended.append(Ended(calls, now, False))

    def _replace(self, link: Link, now: float) -> None:
        self._missing.append(max(now, link.begun + RECONNECT_AFTER))
        self._set_wake()

    def _refused(self, endpoint: Endpoint, error: Exception) -> None:
        self.counts.refused += 1
        self.counts.error = str(error)
        self._endpoint = (self._target.endpoints.index(endpoint) + 1) % len(self._target.endpoints)

    def _greeting_due(self, link: Link) -> float:
        return math.inf if link.connection.ready else link.begun + self._target.connect_timeout

    def _set_wake(self) -> None:
        self.wake = min((*self._missing, *map(self._greeting_due, self._links)), default=math.inf)
