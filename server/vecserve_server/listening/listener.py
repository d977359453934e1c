"""The gRPC server of a configuration: built, bound, and following its files."""

import asyncio
import contextlib
import logging
import math
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import grpc

from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor, Check
from vecserve_server.api.tokens import TokenCheck, Tokens, TokensError
from vecserve_server.config import ServerConfig
from vecserve_server.listening.address import bound_sockets, is_local, unix_path
from vecserve_server.listening.certificates import Certificate, Certificates
from vecserve_server.listening.descriptors import allow_connections
from vecserve_server.listening.errors import BindError, FileError
from vecserve_server.listening.watched import WatchedFiles
from vecserve_server.telemetry.calls import CallObserver
from vecserve_wire.limits import Limits
from vecserve_wire.server import Server

logger = logging.getLogger(__name__)

# After the last call has ended, responses may be on their way to slow readers. No longer than this: health watches and
# reflection streams never end by themselves.
_CLOSING_SECONDS = 2.0

AddServices = Callable[[grpc.aio.Server], Awaitable[None]]


class Listener:
    """What clients connect to. Made first of all: certificates and tokens that can't be read end the start.

    Raises:
        FileError: a file of certificates, keys or tokens can't be used.
    """

    def __init__(
        self,
        config: ServerConfig,
        observer: CallObserver | None = None,
        checks: Sequence[Check] = (),
        *,
        shares_port: bool,
    ) -> None:
        """Takes all settings, who is told of calls, what is asked of them, and whether others share the address."""
        self._observer = observer
        self._checks = checks
        self._config = config
        self._shares_port = shares_port
        self._certificates = _certificates(config)
        self._tokens = _tokens(config)
        allow_connections(config.max_connections)
        self.intake = Intake(config.max_concurrent_calls, config.max_inflight_bytes)
        """What its calls hold."""
        if self._tokens and not self._certificates and not is_local(config.address):
            logger.warning(
                "tokens come to %s in plain text, and whoever reads them on the way can call too: set --tls-cert",
                config.address,
            )

    @contextlib.asynccontextmanager
    async def listening(self, add_services: AddServices, add_health: AddServices) -> AsyncGenerator[str]:
        """Answers calls for as long as the block lasts; yields the address, with the port that was found for port 0.

        Args:
            add_services: Adds everything that is served, health included.
            add_health: Adds health alone, for `--health-address`.

        Raises:
            BindError: an address can't be listened on.
        """
        async with contextlib.AsyncExitStack() as stack:
            server = self._server()
            await add_services(_as_grpc(server))
            tls = self._certificates.context() if self._certificates else None
            address = await self._start(stack, server, self._config.address, tls)
            if health_address := self._config.health_address:
                health = Server(limits_of(self._config))
                await add_health(_as_grpc(health))
                logger.info("health checks on %s", await self._start(stack, health, health_address))
            for files in self._watched():
                stack.callback(asyncio.create_task(files.watch()).cancel)
            yield address

    def _server(self) -> Server:
        return Server(
            limits_of(self._config),
            CallInterceptor(self.intake, [*self._token_checks(), *self._checks], self._observer),
        )

    async def _start(
        self, stack: contextlib.AsyncExitStack, server: Server, address: str, tls: ssl.SSLContext | None = None
    ) -> str:
        """Listens until the stack is left; returns the address with its port."""
        bound = bound_sockets(address, shared=self._shares_port, mode=int(self._config.socket_mode, 8))
        if path := unix_path(address):
            stack.callback(path.unlink, missing_ok=True)
        else:
            address = f"{address.rpartition(':')[0]}:{bound[0].getsockname()[1]}"
        stack.push_async_callback(server.stop, _CLOSING_SECONDS)
        for each in bound:
            try:
                await server.listen(each, tls)
            except OSError as error:
                raise BindError(f"can't listen on {address}: {error.strerror}") from error
        return address

    def _token_checks(self) -> list[Check]:
        if self._tokens is None:
            return []
        tokens = self._tokens
        return [TokenCheck(lambda: tokens.value, self._config.tokens_exempt)]

    def _watched(self) -> list[WatchedFiles[Certificate] | WatchedFiles[Tokens]]:
        certificates = [self._certificates.files] if self._certificates else []
        return [*certificates, *([self._tokens] if self._tokens else [])]


def _as_grpc(server: Server) -> grpc.aio.Server:
    """For generated code, which only adds handlers to a server, and whose types know none but grpcio's."""
    return cast("grpc.aio.Server", server)


def limits_of(config: ServerConfig) -> Limits:
    """What connections to a server of these settings may ask for."""
    return Limits(
        max_receive_bytes=config.max_message_bytes,
        max_send_bytes=config.max_message_bytes,
        max_streams=config.max_concurrent_streams,
        max_connections=config.max_connections,
        age=config.max_connection_age_seconds or math.inf,
        age_grace=config.connection_grace_seconds or math.inf,
        keepalive=config.keepalive_seconds,
        keepalive_timeout=config.keepalive_timeout_seconds,
        min_ping=config.min_ping_seconds,
    )


def _certificates(config: ServerConfig) -> Certificates | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    certificates = Certificates(config.tls_cert, config.tls_key, config.tls_client_ca)
    logger.info("TLS with a certificate for %s", certificates.files.value)
    return certificates


def _tokens(config: ServerConfig) -> WatchedFiles[Tokens] | None:
    file = config.tokens_file
    return WatchedFiles("tokens", [file], partial(_parse_tokens, file)) if file else None


def _parse_tokens(file: Path, contents: bytes) -> Tokens:
    try:
        return Tokens.parse(contents)
    except TokensError as error:
        raise FileError(f"{file}: {error}") from error
