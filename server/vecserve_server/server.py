"""The life of a server: bind, load, serve, drain, stop."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import grpc

from vecserve.oip import grpc_inference_service_pb2_grpc
from vecserve.v1 import admin_service_pb2_grpc, embedding_service_pb2_grpc, model_service_pb2_grpc
from vecserve_server.api import admin, embedding, model
from vecserve_server.api.gate import Gate
from vecserve_server.api.health import SERVICE as HEALTH_SERVICE
from vecserve_server.api.health import Health
from vecserve_server.api.intake import Intake
from vecserve_server.api.oip.service import SERVICE as INFERENCE_SERVICE
from vecserve_server.api.oip.service import InferenceServicer
from vecserve_server.api.overload import OverloadCheck
from vecserve_server.api.reflection import add_reflection
from vecserve_server.config import ServerConfig
from vecserve_server.cores import available_cores
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.observer import Observers
from vecserve_server.engine.statistics import Statistics
from vecserve_server.listening.errors import BindError, FileError
from vecserve_server.listening.listener import Listener
from vecserve_server.loading import Loader, LoadingStoppedError, SettingError, load_engine
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.providers.provider import ProviderError
from vecserve_server.models.session import require_provider
from vecserve_server.rollout import Rollout
from vecserve_server.telemetry.telemetry import Telemetry, TracingError

logger = logging.getLogger(__name__)

# For the last traces to reach their collector. With the time to close, a server ends within the 30 s of Kubernetes.
_FLUSHING_SECONDS = 2.0

# Between two runs of the garbage collector.
_NEW_OBJECTS = 20_000

START_ERRORS = (ArtifactError, BindError, FileError, ProviderError, SettingError, TracingError)
"""Why a server can't start, in words for whoever started it."""


def announce_ready(address: str, models: str) -> None:
    """Logs the line that users wait for."""
    logger.info("ready on %s with %s, pid %d", address, models, os.getpid())


class Server:
    """Serves the models of a configuration until it is told to stop."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        shares_port: bool = False,
        announce: Callable[[str, str], None] = announce_ready,
    ) -> None:
        """Prepares it.

        Args:
            config: All settings.
            shares_port: Whether other processes serve on the same address.
            announce: Called with the address and the models' names and versions when it serves.

        Raises:
            TracingError: traces were asked for, and can't be made.
        """
        self._config = config
        self._shares_port = shares_port
        self._announce = announce
        self._gate = Gate()
        self._services = [
            embedding.SERVICE,
            model.SERVICE,
            INFERENCE_SERVICE,
            *([admin.SERVICE] if config.admin else []),
        ]
        self._health = Health(self._services, self._gate)
        self._telemetry = Telemetry(config)
        self._statistics = Statistics()
        self._stop = asyncio.Event()
        self._loader = Loader(config, self._stop.is_set)
        self._give_up = asyncio.Event()

    async def run(self) -> None:
        """Serves until it is told to stop.

        Raises:
            ArtifactError, BindError, FileError, ProviderError, SettingError: it can't start.
        """
        require_provider(self._config.session_options(available_cores()).provider)
        checks = [OverloadCheck(self._gate)]
        listener = Listener(self._config, self._telemetry.calls, checks, shares_port=self._shares_port)
        self._serve_metrics()
        try:
            await self._run(listener.listening(partial(self._add_services, listener.intake), self._health.add_to))
        finally:
            await self._telemetry.close(_FLUSHING_SECONDS)

    async def _run(self, listening: AbstractAsyncContextManager[str]) -> None:
        if self._shares_port:
            # Calls whose connections it took would be refused until it has loaded, while other processes answer.
            if engine := await self._load():
                async with listening as address:
                    await self._serve(engine, address)
        else:
            async with listening as address:
                if engine := await self._load():
                    await self._serve(engine, address)

    def stop_on_signals(self) -> None:
        """Drains at SIGTERM or SIGINT; a second one ends the grace period."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: self.end() if self._stop.is_set() else self.drain())

    def drain(self) -> None:
        """Begins to shut down: refuses new calls, and finishes accepted ones within the grace period."""
        self._stop.set()

    def end(self) -> None:
        """Shuts down without finishing calls."""
        self._stop.set()
        self._give_up.set()

    def _serve_metrics(self) -> None:
        try:
            self._telemetry.serve()
        except OSError as error:
            raise BindError(f"can't serve metrics on {self._config.metrics_address}: {error.strerror}") from error

    async def _add_services(self, intake: Intake, server: grpc.aio.Server) -> None:
        config = self._config
        servicer = embedding.EmbeddingServicer(
            self._gate, intake, max_items=config.max_batch_items, max_stream_requests=config.max_stream_requests
        )
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
        models = model.ModelServicer(self._gate, max_items=config.max_batch_items)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        inference = InferenceServicer(self._gate, self._statistics, max_items=config.max_batch_items)
        grpc_inference_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)
        if config.admin:
            admin_service_pb2_grpc.add_AdminServiceServicer_to_server(admin.AdminServicer(self._gate), server)
        await self._health.add_to(server)
        add_reflection(server, [*self._services, HEALTH_SERVICE])

    async def _load(self) -> Engine | None:
        """Loads and warms up on a thread; None if the server was told to stop meanwhile, which ends the next step."""
        observer = Observers([self._statistics, *self._telemetry.engine])
        try:
            return await asyncio.to_thread(load_engine, self._config, observer, self._loader)
        except LoadingStoppedError:
            return None

    async def _serve(self, engine: Engine, address: str) -> None:
        # What was loaded stays: the garbage collector need not look at it again and again. And calls leave no cycles
        # behind: at every 700 new objects, as is usual, it took a twentieth of the event loop's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        engine.start()
        rollout = Rollout(engine, self._loader, self._config)
        engine.on_change = self._health.change
        self._telemetry.watch(engine, lambda: self._gate.is_ready)
        self._gate.open(engine, rollout)
        await self._health.tell()
        names = ", ".join(f"{model.name}@{model.version}" for model in engine.catalog)
        self._announce(address, names)
        keeping = [asyncio.create_task(work) for work in self._keep(rollout)]
        await self._stop.wait()
        for task in keeping:
            task.cancel()
        rollout.stop()
        await self._drain(engine)

    def _keep(self, rollout: Rollout) -> list[Coroutine[Any, Any, None]]:
        """What goes on while the server serves."""
        seconds = self._config.poll_models_seconds
        return [self._health.follow(), *([rollout.poll(seconds)] if seconds else [])]

    async def _drain(self, engine: Engine) -> None:
        """Refuses new calls, and waits until accepted ones have ended, but no longer than the grace period."""
        logger.info("shutting down: finishing accepted calls, for at most %g s", self._config.grace_seconds)
        self._gate.close()
        await self._health.tell()
        idle = asyncio.create_task(engine.idle())
        impatient = asyncio.create_task(self._give_up.wait())
        await asyncio.wait((idle, impatient), timeout=self._config.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            logger.warning("the grace period is over: calls that have not ended fail")
        for waiting in (idle, impatient):
            waiting.cancel()
        await engine.stop()
