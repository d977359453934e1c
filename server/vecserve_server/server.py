"""The life of a server: bind, load, serve, drain, stop."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable

import grpc

from vecserve.oip import grpc_inference_service_pb2_grpc
from vecserve.v1 import embedding_service_pb2_grpc, model_service_pb2_grpc
from vecserve_server.api import embedding, model
from vecserve_server.api.gate import Gate
from vecserve_server.api.health import SERVICE as HEALTH_SERVICE
from vecserve_server.api.health import Health
from vecserve_server.api.interceptor import CallInterceptor
from vecserve_server.api.metadata import be_quiet_about_encodings
from vecserve_server.api.oip.service import SERVICE as INFERENCE_SERVICE
from vecserve_server.api.oip.service import InferenceServicer
from vecserve_server.api.reflection import add_reflection
from vecserve_server.api.unnamed import refuse_unregistered_methods
from vecserve_server.config import ServerConfig
from vecserve_server.connections import end_connections
from vecserve_server.cores import available_cores
from vecserve_server.engine.engine import Engine
from vecserve_server.engine.observer import Observers
from vecserve_server.engine.statistics import Statistics
from vecserve_server.loading import SettingError, load_engine
from vecserve_server.models.manifest import ArtifactError
from vecserve_server.models.providers.provider import ProviderError
from vecserve_server.models.session import require_provider
from vecserve_server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# After the last call has ended, responses may be on their way to slow readers, some of which never read.
_CLOSING_SECONDS = 2.0


class BindError(Exception):
    """The address can't be listened on."""


START_ERRORS = (ArtifactError, BindError, ProviderError, SettingError)
"""Why a server can't start, in words for whoever started it."""


def bind_failure(address: str) -> str | None:
    """Why an address can't be listened on, which gRPC tells only its log; None if it can."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(resolved)
    except OSError as error:
        return error.strerror
    return None


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
        """
        self._config = config
        self._shares_port = shares_port
        self._announce = announce
        self._gate = Gate()
        self._calls = CallInterceptor()
        self._health = Health([embedding.SERVICE, model.SERVICE, INFERENCE_SERVICE])
        self._metrics = Metrics()
        self._statistics = Statistics()
        self._stop = asyncio.Event()
        self._give_up = asyncio.Event()

    async def run(self) -> None:
        """Serves until it is told to stop.

        Raises:
            ArtifactError, BindError, ProviderError, SettingError: it can't start.
        """
        require_provider(self._config.session_options(available_cores()).provider)
        self._serve_metrics()
        if self._shares_port:
            # Calls whose connections it took would be refused until it has loaded, while other processes answer.
            if engine := await self._load():
                async with self._listening() as port:
                    await self._serve(engine, port)
        else:
            async with self._listening() as port:
                if engine := await self._load():
                    await self._serve(engine, port)

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
        address = self._config.metrics_address
        if address is None:
            return
        try:
            self._metrics.serve(address)
        except OSError as error:
            raise BindError(f"can't serve metrics on {address}: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncGenerator[int]:
        server, port = await self._bind()
        await server.start()
        try:
            yield port
        finally:
            await self._calls.answered(_CLOSING_SECONDS)
            end_connections(port)
            await server.stop(None)

    async def _bind(self) -> tuple[grpc.aio.Server, int]:
        config = self._config
        refuse_unregistered_methods()
        be_quiet_about_encodings()
        server = grpc.aio.server(
            interceptors=(self._calls,),
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", config.max_message_bytes),
                # Otherwise a second server on the port would start, and take half of the connections.
                ("grpc.so_reuseport", int(self._shares_port)),
            ],
        )
        servicer = embedding.EmbeddingServicer(
            self._gate, max_items=config.max_batch_items, max_stream_requests=config.max_stream_requests
        )
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
        models = model.ModelServicer(self._gate, max_items=config.max_batch_items)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        inference = InferenceServicer(self._gate, self._statistics, max_items=config.max_batch_items)
        grpc_inference_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)
        await self._health.add_to(server)
        add_reflection(server, [embedding.SERVICE, model.SERVICE, INFERENCE_SERVICE, HEALTH_SERVICE])
        try:
            return server, server.add_insecure_port(config.address)
        except RuntimeError as error:
            raise BindError(f"can't listen on {config.address}: {bind_failure(config.address) or error}") from error

    async def _load(self) -> Engine | None:
        """Loads and warms up on a thread; None if the server was told to stop meanwhile."""
        observer = Observers([self._metrics, self._statistics])
        loading = asyncio.create_task(asyncio.to_thread(load_engine, self._config, observer))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return await loading if loading.done() else None

    async def _serve(self, engine: Engine, port: int) -> None:
        # What was loaded stays: the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        engine.start()
        for served in engine.catalog:
            self._metrics.loaded(served)
        self._gate.open(engine)
        await self._health.set_serving(True)
        host = self._config.address.rpartition(":")[0]
        names = ", ".join(f"{model.name}@{model.version}" for model in engine.catalog)
        self._announce(f"{host}:{port}", names)
        await self._stop.wait()
        await self._drain(engine)

    async def _drain(self, engine: Engine) -> None:
        """Refuses new calls, and waits until accepted ones have ended, but no longer than the grace period."""
        logger.info("shutting down: finishing accepted calls, for at most %g s", self._config.grace_seconds)
        await self._health.set_serving(False)
        self._gate.close()
        idle = asyncio.create_task(engine.idle())
        impatient = asyncio.create_task(self._give_up.wait())
        await asyncio.wait((idle, impatient), timeout=self._config.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            logger.warning("the grace period is over: calls that have not ended fail")
        for waiting in (idle, impatient):
            waiting.cancel()
        await engine.stop()
