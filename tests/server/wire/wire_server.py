"""A wire server in this event loop, with handlers that tests steer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
from http2_client import PATH, Client

from vecserve_wire.details import Answer, Details
from vecserve_wire.limits import Limits
from vecserve_wire.server import Find, Server

_contexts: ContextVar[Any] = ContextVar("context")

Serve = Callable[..., Awaitable["Served"]]


class Served:
    """A server, what it was asked, and how calls ended."""

    def __init__(self, limits: Limits) -> None:
        self.server = Server(limits, self._intercept)
        self.go_on = asyncio.Event()
        self.events: list[str] = []
        """What handlers saw, and "told" for each call of a done callback."""
        self.requests: list[bytes] = []
        self.reply = b"reply"
        self.context: Any = None
        """Of the latest call, as are its details."""
        self.details: Details | None = None
        self.answer: Answer | None = None
        """What calls get in place of their handler."""
        self.port = 0
        self._clients = contextlib.ExitStack()
        self.server.add_registered_method_handlers(PATH.strip("/"), self._handlers())

    async def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        await self.server.listen(listening)

    async def connect(self, settings: dict[int, int] | None = None, *, greet: bool = True) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.callback(client.leave)
        if greet:
            client.greet(settings)
        return client

    async def stop(self) -> None:
        self._clients.close()
        self.go_on.set()
        await self.server.stop(0)

    def _intercept(self, details: Details, find: Find) -> Any:
        details.on_end.append(lambda _: self.events.append("told"))
        self.details = details
        return self.answer or find(details)

    def _handlers(self) -> dict[str, Any]:
        unary, streams = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            "Echo": unary(self._echo, bytes, bytes),
            "Keep": unary(self._keep, bytes, bytes),
            "Reply": unary(self._reply, bytes, bytes),
            "Wait": unary(self._wait, bytes, bytes),
            "Trailers": unary(self._trailers, bytes, bytes),
            "Each": streams(self._each, bytes, bytes),
            "Count": streams(self._count, bytes, bytes),
        }

    async def _echo(self, request: bytes, _: Any) -> bytes:
        self.requests.append(request)
        return request

    async def _keep(self, request: bytes, context: Any) -> bytes:
        """Has the context found from within the task, as telemetry does."""
        _contexts.set(context)
        return request

    async def _reply(self, request: bytes, context: Any) -> bytes:
        self.context = context
        return self.reply

    async def _wait(self, request: bytes, context: Any) -> bytes:
        self.context = context
        self.events.append("began")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            await asyncio.sleep(0)  # as one that has to clean up
            self.events.append("cleaned")
            raise
        return request

    async def _trailers(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "für 100 %", (("large", "x" * 40_000), ("data-bin", b"\0\xff")))
        return b""

    async def _each(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        """Answers each message; reads none before `go_on`."""
        await self.go_on.wait()
        async for request in requests:
            self.requests.append(request)
            yield request

    async def _count(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        """Sends replies for ever."""
        try:
            while True:
                self.events.append("sending")
                yield self.reply
        finally:
            await asyncio.sleep(0)
            self.events.append("closed")
