"""grpc.health.v1: of the server as a whole, and of each of its services."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = health.SERVICE_NAME


class _Servicer(health_pb2_grpc.HealthServicer):
    """The library's servicer, but its watches end when they are told to: it lets them run for ever."""

    def __init__(self) -> None:
        self.statuses = cast("Any", health).aio.HealthServicer()  # the stubs know only the synchronous one
        self.closing = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:
        return await self.statuses.Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:
        watching = asyncio.ensure_future(self.statuses.Watch(request, context))
        closing = asyncio.create_task(self.closing.wait())
        try:
            await asyncio.wait((watching, closing), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            closing.cancel()


class Health:
    """What health clients are told. Nothing serves until `set_serving`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._servicer = _Servicer()

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answers Check and Watch on `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self.set_serving(False)

    async def set_serving(self, serving: bool) -> None:
        """Tells every service's watchers."""
        status = health_pb2.HealthCheckResponse
        for service in self._services:
            await self._servicer.statuses.set(service, status.SERVING if serving else status.NOT_SERVING)

    def end_watches(self) -> None:
        """Ends every Watch, which would hold up the shutdown otherwise."""
        self._servicer.closing.set()
