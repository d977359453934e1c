"""grpc.health.v1: of the server as a whole, and of each of its services."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from vecserve_server.api.watching import HealthServicer

SERVICE = health.SERVICE_NAME


class Health:
    """What health clients are told. Nothing serves until `set_serving`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._servicer = HealthServicer()

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answers Check and Watch on `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self.set_serving(False)

    async def set_serving(self, serving: bool) -> None:
        """Tells every service's watchers."""
        status = health_pb2.HealthCheckResponse
        for service in self._services:
            await self._servicer.set(service, status.SERVING if serving else status.NOT_SERVING)
