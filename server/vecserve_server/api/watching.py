"""Answers grpc.health.v1.

The servicer of grpcio-health-checking holds a lock while it writes to a watcher. One that does not read would keep it,
and with it whoever wants to change a status: a server that starts or drains, for ever.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecserve_server.api.metadata import AnyContext

_Status = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """What is served, by name; set on the event loop that answers."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._change = asyncio.Event()

    async def set(self, service: str, status: int) -> None:
        """Sets a status and lets watchers know; it waits for none of them."""
        self._statuses[service] = status
        changed, self._change = self._change, asyncio.Event()
        changed.set()

    async def Check(self, request: Any, context: AnyContext) -> Any:
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"'{request.service}' is none of {self._names()}")
        return _Status(status=self._statuses[request.service])

    async def Watch(self, request: Any, context: AnyContext) -> None:
        told = None
        while True:
            change = self._change
            status = self._statuses.get(request.service, _Status.SERVICE_UNKNOWN)
            if status != told:
                await context.write(_Status(status=status))
                told = status
            await change.wait()

    def _names(self) -> str:
        return ", ".join(f"'{name}'" for name in self._statuses)
