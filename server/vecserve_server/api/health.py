"""grpc.health.v1: of the process, of the server as a whole, of each of its services, and of each model."""

import asyncio
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from vecserve_server.api.gate import Gate
from vecserve_server.api.watching import HealthServicer

SERVICE = health.SERVICE_NAME

LIVENESS = "liveness"
"""Whether the process can do its work, now or once it has loaded. If not, it has to be started anew."""
READINESS = "readiness"
"""Whether calls are answered now, as for the empty name and each service."""
MODEL = "model:{}"
"""Whether calls of one model are answered now, whose name it takes."""

_Status = health_pb2.HealthCheckResponse


class Health:
    """What health clients are told: what the gate says, whenever it may have changed."""

    def __init__(self, services: Sequence[str], gate: Gate) -> None:
        self._services = ("", READINESS, *services)
        self._gate = gate
        self._changed = asyncio.Event()
        self._told: dict[str, bool] = {}
        self._servicer = HealthServicer()

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answers Check and Watch on `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self.tell()

    def change(self) -> None:
        """Says that the truth may have changed."""
        self._changed.set()

    async def follow(self) -> None:
        """Tells of changes for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.tell()

    async def tell(self) -> None:
        """Tells every watcher what is true now. A model that was unloaded does not serve."""
        models = {MODEL.format(name): serving for name, serving in self._gate.models().items()}
        known = dict.fromkeys(self._told, False) | dict.fromkeys(self._services, self._gate.is_ready) | models
        for name, serving in (known | {LIVENESS: self._gate.is_live}).items():
            if self._told.get(name) is not serving:
                self._told[name] = serving
                await self._servicer.set(name, _Status.SERVING if serving else _Status.NOT_SERVING)
