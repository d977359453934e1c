"""The gRPC server of a configuration: built, bound, and following its files."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc

from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor, Check
from vecserve_server.api.tokens import TokenCheck, Tokens, TokensError
from vecserve_server.config import ServerConfig
from vecserve_server.listening.address import bind_failure, free_path, is_local, unix_path
from vecserve_server.listening.certificates import Certificate, Certificates
from vecserve_server.listening.descriptors import allow_connections
from vecserve_server.listening.errors import BindError, FileError
from vecserve_server.listening.options import channel_options
from vecserve_server.listening.watched import WatchedFiles
from vecserve_server.telemetry.calls import CallObserver

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

    def __init__(self, config: ServerConfig, observer: CallObserver | None = None, *, shares_port: bool) -> None:
        """Takes all settings, who is told of calls, and whether other processes serve on the same address."""
        self._observer = observer
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
            await add_services(server)
            address = self._bind(server)
            await _start(stack, server)
            if health_address := self._config.health_address:
                health = grpc.aio.server(options=channel_options(self._config, shares_port=self._shares_port))
                await add_health(health)
                logger.info("health checks on %s", _bind(health, health_address, None))
                await _start(stack, health)
            for files in self._watched():
                stack.callback(asyncio.create_task(files.watch()).cancel)
            yield address

    def _server(self) -> grpc.aio.Server:
        options = channel_options(self._config, shares_port=self._shares_port)
        return grpc.aio.server(
            interceptors=(CallInterceptor(self.intake, self._checks(), self._observer),), options=options
        )

    def _checks(self) -> list[Check]:
        if self._tokens is None:
            return []
        tokens = self._tokens
        return [TokenCheck(lambda: tokens.value, self._config.tokens_exempt)]

    def _bind(self, server: grpc.aio.Server) -> str:
        credentials = self._certificates.credentials() if self._certificates else None
        address = self._config.address
        if path := unix_path(address):
            with free_path(path, int(self._config.socket_mode, 8)):
                _bind(server, address, credentials)
            return address
        return _bind(server, address, credentials)

    def _watched(self) -> list[WatchedFiles[Certificate] | WatchedFiles[Tokens]]:
        certificates = [self._certificates.files] if self._certificates else []
        return [*certificates, *([self._tokens] if self._tokens else [])]


async def _start(stack: contextlib.AsyncExitStack, server: grpc.aio.Server) -> None:
    await server.start()
    stack.push_async_callback(server.stop, _CLOSING_SECONDS)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise BindError(f"can't listen on {address}: {bind_failure(address) or error}") from error
    return f"{address.rpartition(':')[0]}:{port}"


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
