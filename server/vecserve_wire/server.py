"""A gRPC server: handlers, listeners, connections."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecserve_wire.connection import Connection
from vecserve_wire.limits import Limits

Wrap = Callable[[str, Any], Any]
"""Of a method's name and its handler, the handler that is called in its place."""


@dataclass(frozen=True, slots=True)
class _Details:
    method: str
    invocation_metadata: Sequence[tuple[str, str]] = ()


class Server:
    """Answers calls on one event loop. Takes the handlers of grpcio's generated code."""

    def __init__(self, limits: Limits, wrap: Wrap = lambda _, handler: handler) -> None:
        self.limits = limits
        self._wrap = wrap
        self._methods: dict[str, Any] = {}
        self._generic: list[Any] = []
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            method = f"/{service}/{name}"
            self._methods[method] = self._wrap(method, handler)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._generic += handlers

    def handler(self, method: str) -> Any | None:
        """What answers /package.Service/Method; None if nothing does."""
        if found := self._methods.get(method):
            return found
        for generic in self._generic:
            if found := generic.service(_Details(method)):
                self._methods[method] = self._wrap(method, found)
                return self._methods[method]
        return None

    async def listen(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Answers on a bound socket.

        Raises:
            OSError: it can't be listened on.
        """
        loop = asyncio.get_running_loop()
        make = lambda: Connection(self, loop)  # noqa: E731 (asyncio's factory)
        self._listeners.append(await loop.create_server(make, sock=listening, ssl=tls, backlog=1024))
        if not self._sweeping:
            self._sweeping = loop.create_task(self._sweep())

    async def stop(self, grace: float) -> None:
        """Takes no new connection and no new call; after `grace` seconds those under way are given up."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace)
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()
        if self._sweeping:
            self._sweeping.cancel()

    def opened(self, connection: Connection) -> bool:
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def _sweep(self) -> None:
        """Once a second, ends what has been silent from the beginning."""
        while True:
            await asyncio.sleep(1)
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                if connection.silent and now - connection.opened_at > self.limits.handshake_seconds:
                    connection.abort()
