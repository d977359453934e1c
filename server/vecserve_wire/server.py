"""A gRPC server: handlers, listeners, connections."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vecserve_wire.connection import Connection
from vecserve_wire.details import Details
from vecserve_wire.limits import Limits
from vecserve_wire.rests import Rests

Find = Callable[[Details], Any | None]
"""Returns the handler of a call, or an `Answer` in place of one; None if there is neither."""

Intercept = Callable[[Details, Find], Any | None]
"""Is asked in place of `Find`, before any message of the call is read."""

_BACKLOG = 1024
_LAST_WORDS_SECONDS = 1.0


class Server:
    """Answers calls on one event loop, with the handlers of grpcio's generated code."""

    def __init__(self, limits: Limits, intercept: Intercept | None = None) -> None:
        self.limits = limits
        self.rests = Rests(limits.rest)
        self._intercept = intercept
        self._methods: dict[str, Any] = {}
        self._generic: list[Any] = []
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """As generated code adds a service."""
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = handler

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As generated code adds it too, and others do who know its methods only when they are called."""
        self._generic += handlers

    def handler(self, details: Details) -> Any | None:
        return self._intercept(details, self._find) if self._intercept else self._find(details)

    def _find(self, details: Details) -> Any | None:
        if found := self._methods.get(details.method):
            return found
        for generic in self._generic:
            if found := generic.service(details):
                return found
        return None

    async def listen(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Answers on a bound socket, which it takes over.

        Raises:
            OSError: it can't be listened on.
        """
        loop = asyncio.get_running_loop()
        handshake = self.limits.handshake if tls else None

        def make() -> Connection:
            return Connection(self, loop)

        self._listeners.append(
            await loop.create_server(
                make,
                sock=listening,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=None,
            )
        )

    async def stop(self, grace: float) -> None:
        """Takes no new connection and no new call; after `grace` seconds those under way are given up."""
        self._stopping = True  # TLS handshakes under way end later
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.drain()
        await self._emptied(grace)
        for connection in list(self._connections):
            connection.end_calls()
        await self._emptied(_LAST_WORDS_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()

    async def _emptied(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    def opened(self, connection: Connection) -> bool:
        if self._stopping or len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
