"""A socket, and the HTTP/2 connection on it."""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from vecserve_loadtest.calls import Call
from vecserve_loadtest.connection import Connection
from vecserve_loadtest.plan import UNIX
from vecserve_loadtest.poller import Poller
from vecserve_loadtest.stream import StreamConnection

RECEIVE_BYTES = 2**16  # of 256 KiB, malloc takes memory from the system and gives it back: 20 µs a call instead of 2
_MUCH = 2**14  # bytes that came at once, of which there may be more


AnyConnection: TypeAlias = Connection[Call] | StreamConnection


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens."""

    family: int
    address: tuple[object, ...] | str
    """As `socket.connect` takes it for the family."""


def resolve(address: str) -> list[Endpoint]:
    """Return the endpoints of HOST:PORT or unix:PATH, in the order in which to try them.

    Raises:
        OSError: If the host has no address.
    """
    if address.startswith(UNIX):
        return [Endpoint(socket.AF_UNIX, address.removeprefix(UNIX))]
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


class Link:
    """One connection, from the moment it is begun until it is closed.

    Args:
        endpoint: Where to connect to.
        connection: The protocol, at its beginning.
        poller: Tells when the socket is ready.
        on_readable: Called when there is something to `read`.
        on_writable: Called when it is time to `resume`.
        now: The present time, in seconds.

    Attributes:
        endpoint: Where it leads.
        connection: The protocol.
        begun: When connecting began, in seconds.

    Raises:
        OSError: If connecting fails at once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        connection: AnyConnection,
        poller: Poller,
        on_readable: Callable[["Link"], None],
        on_writable: Callable[["Link"], None],
        now: float,
    ) -> None:
        self.endpoint = endpoint
        self.begun = now
        self.connection = connection
        self._poller = poller
        self._writable = partial(on_writable, self)
        self._blocked = True
        self._unsent: bytes | memoryview = b""
        self._socket = socket.socket(endpoint.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        if endpoint.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failure = self._socket.connect_ex(endpoint.address)
        if failure not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(failure, os.strerror(failure))
        self._descriptor = self._socket.fileno()
        poller.on_readable(self._descriptor, partial(on_readable, self))
        poller.on_writable(self._descriptor, self._writable)

    def read(self) -> list[Call]:
        """Read what there is, up to a bound, and return the calls that ended with it.

        Raises:
            OSError: If the connection is lost. A server that broke HTTP/2 shows in `connection.broken`.
        """
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("the server closed the connection")
        if len(data) >= _MUCH:
            self._poller.hurry()
        return self.connection.receive(data)

    def flush(self) -> None:
        """Send what there is and what the socket takes.

        Raises:
            OSError: If the connection is lost.
        """
        while not self._blocked and (unsent := self._unsent or self.connection.take()):
            try:
                sent = self._socket.send(unsent)
            except BlockingIOError:
                sent = 0
            if sent == len(unsent):
                self._unsent = b""
            else:
                self._unsent = memoryview(unsent)[sent:]
                self._blocked = True
                self._poller.on_writable(self._descriptor, self._writable)
        if self._unsent or self.connection.uploading:
            self._poller.hurry()

    def resume(self) -> None:
        """Go on sending now that the socket is connected, or has room again.

        Raises:
            OSError: If the connection is lost, or was not to be had.
        """
        if failure := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failure, os.strerror(failure))
        self._blocked = False
        self._poller.on_writable(self._descriptor, None)
        self.flush()

    def close(self) -> list[Call]:
        """Close the socket and return the calls that get no answer by that."""
        self._poller.forget(self._descriptor)
        self._socket.close()
        return self.connection.close()
