"""A listener with a service that counts what reaches its handlers, called over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import grpc

from vecserve_server.api.gate import Gate
from vecserve_server.api.health import Health
from vecserve_server.config import ServerConfig
from vecserve_server.listening.listener import Listener

ECHO = "/vecserve.v1.Test/Echo"
STREAM = "/vecserve.v1.Test/Stream"
WAIT = "/vecserve.v1.Test/Wait"


@dataclass
class Service:
    """Echoes messages, and notes those that its handlers get, and whence."""

    handled: list[bytes] = field(default_factory=list[bytes])
    peers: set[str] = field(default_factory=set[str])
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What calls of WAIT wait for."""

    async def add_to(self, server: grpc.aio.Server) -> None:
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(self._echo, bytes, bytes),
            "Wait": grpc.unary_unary_rpc_method_handler(self._wait, bytes, bytes),
            "Stream": grpc.stream_stream_rpc_method_handler(self._stream, bytes, bytes),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("vecserve.v1.Test", handlers),))
        await Health([], Gate()).add_to(server)

    async def _echo(self, request: bytes, context: Any) -> bytes:
        self.handled.append(request)
        self.peers.add(context.peer())
        return request

    async def _wait(self, request: bytes, context: Any) -> bytes:
        self.handled.append(request)
        await self.go_on.wait()
        return request

    async def _stream(self, requests: Any, context: Any) -> None:
        async for request in requests:
            self.handled.append(request)
            await context.write(request)


@dataclass
class Listening:
    """A listener that runs."""

    address: str
    service: Service
    listener: Listener


@contextlib.asynccontextmanager
async def listening(**settings: Any) -> AsyncGenerator[Listening]:
    """Listens with some settings, on a free port unless they say where."""
    settings.setdefault("address", "127.0.0.1:0")
    config = ServerConfig(**settings)
    listener, service = Listener(config, shares_port=False), Service()
    async with listener.listening(service.add_to, Health([], Gate()).add_to) as address:
        yield Listening(address, service, listener)
