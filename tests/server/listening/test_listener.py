"""What a listener takes and refuses, over real connections."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from authority import Authority
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from listening import ECHO, STREAM, WAIT, Listening, listening
from running_server import rpc_status

from vecserve_server.config import ServerConfig
from vecserve_server.listening.errors import BindError, FileError
from vecserve_server.listening.listener import Listener

TOKEN, OTHER = "a-token-of-sufficient-length", "another-token-of-such-length"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n{OTHER}\n")
    return file


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def connected(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        address, [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    )


async def echo(running: Listening, request: bytes = b"hello", **options: Any) -> bytes:
    async with connected(running.address) as channel:
        return await channel.unary_unary(ECHO)(request, timeout=10, **options)


async def refusal(running: Listening, request: bytes = b"hello", **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await echo(running, request, **options)
    return refused.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info = ErrorInfo()
    rpc_status(cast(grpc.RpcError, error)).details[0].Unpack(info)
    return info.reason


async def health(address: str) -> int:
    async with connected(address) as channel:
        stub = cast("Any", health_pb2_grpc.HealthStub(channel))
        return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status


async def test_calls_without_a_token_are_refused_before_a_handler_runs_or_a_message_is_read(tokens: Path) -> None:
    async with listening(tokens_file=tokens) as running:
        for metadata in (None, bearer("a-token-of-sufficient-lengtH")):
            error = await refusal(running, bytes(50_000_000), metadata=metadata)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason(error) == "ERROR_REASON_UNAUTHENTICATED"
        assert running.service.handled == []
        assert await echo(running, metadata=bearer(TOKEN)) == b"hello"
        assert await echo(running, metadata=bearer(OTHER)) == b"hello"


async def test_a_stream_without_a_token_is_refused(tokens: Path) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield b"hello"
        await asyncio.Event().wait()

    async with listening(tokens_file=tokens) as running, connected(running.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(channel.stream_stream(STREAM)(requests())))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert running.service.handled == []


async def test_health_needs_no_token(tokens: Path) -> None:
    async with listening(tokens_file=tokens) as running:
        assert await health(running.address) == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({"address": "0.0.0.0:0"}, True), ({"address": "127.0.0.1:0"}, False)],
)
async def test_tokens_in_plain_text_over_a_network_are_warned_of(
    tokens: Path, settings: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Listener(ServerConfig(tokens_file=tokens, **settings), shares_port=False)
    assert ("tokens come to 0.0.0.0:0 in plain text" in caplog.text) is warned


async def test_tokens_never_come_into_the_log(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(tokens_file=tokens, address="0.0.0.0:0") as running:
        await refusal(running, metadata=bearer(f"{TOKEN}x"))
        tokens.write_text(f"{TOKEN} {OTHER}\n")
        async with asyncio.timeout(10):
            while "tokens stay as they were" not in caplog.text:
                await asyncio.sleep(0.05)
        assert await echo(running, metadata=bearer(TOKEN)) == b"hello"
    assert TOKEN not in caplog.text


def test_tokens_that_cannot_be_used_end_the_start(tokens: Path) -> None:
    tokens.write_text("short\n")
    with pytest.raises(FileError, match=rf"{tokens}: line 1 is no token"):
        Listener(ServerConfig(tokens_file=tokens), shares_port=False)


async def test_a_unix_socket_is_served_with_its_permissions_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "vecserve.sock"
    async with listening(address=f"unix:{path}", socket_mode="600") as running:
        assert running.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        assert await echo(running) == b"hello"
        with pytest.raises(BindError, match="another server does"):
            async with listening(address=f"unix:{path}"):
                pass
        assert await echo(running) == b"hello"
    assert not path.exists()


async def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "vecserve.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with listening(address=f"unix:{path}") as running:
        assert await echo(running) == b"hello"


async def test_a_unix_socket_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="its folder does not exist"):
        async with listening(address=f"unix:{tmp_path}/none/vecserve.sock"):
            pass


async def test_a_message_beyond_the_limit_is_refused_with_both_sizes() -> None:
    async with listening(max_message_bytes=1000) as running:
        error = await refusal(running, bytes(1001))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "SERVER: Received message larger than max (1001 vs. 1000)"
        assert running.service.handled == []
        assert await echo(running, bytes(1000)) == bytes(1000)


async def test_calls_beyond_the_limit_are_refused_with_a_delay_and_health_is_answered() -> None:
    async with listening(max_concurrent_calls=2) as running, connected(running.address) as channel:
        calls = [channel.unary_unary(WAIT)(b"wait") for _ in range(2)]
        async with asyncio.timeout(10):
            while len(running.service.handled) < 2:
                await asyncio.sleep(0.01)
        error = await refusal(running)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "ERROR_REASON_OVERLOADED"
        retry = RetryInfo()
        assert rpc_status(cast(grpc.RpcError, error)).details[1].Unpack(retry)
        assert retry.retry_delay.seconds == 1
        assert await health(running.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        calls[0].cancel()
        async with asyncio.timeout(10):
            while running.listener.intake.calls > 1:
                await asyncio.sleep(0.01)
        assert await echo(running) == b"hello"
        running.service.go_on.set()
        assert await calls[1] == b"wait"


async def test_requests_beyond_the_bytes_that_are_held_are_refused() -> None:
    async with listening(max_inflight_bytes=1_000_000) as running, connected(running.address) as channel:
        waiting = channel.unary_unary(WAIT)(bytes(700_000))
        async with asyncio.timeout(10):
            while not running.service.handled:
                await asyncio.sleep(0.01)
        error = await refusal(running, bytes(400_000))
        assert reason(error) == "ERROR_REASON_OVERLOADED"
        assert await echo(running, bytes(200_000)) == bytes(200_000)
        assert await health(running.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        running.service.go_on.set()
        await waiting
        assert await echo(running, bytes(400_000)) == bytes(400_000)


async def test_connections_beyond_the_limit_are_closed_and_health_has_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        health_address = f"127.0.0.1:{free.getsockname()[1]}"
    async with listening(max_connections=2, health_address=health_address) as running:
        async with http2(running.address), http2(running.address):
            error = await refusal(running)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert await health(health_address) == health_pb2.HealthCheckResponse.NOT_SERVING
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await echo(running) == b"hello"
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)


async def test_the_health_address_serves_nothing_else_and_needs_no_certificate(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue()
    with socket.create_server(("127.0.0.1", 0)) as free:
        health_address = f"127.0.0.1:{free.getsockname()[1]}"
    async with listening(tls_cert=certificate, tls_key=key, health_address=health_address) as running:
        assert await health(health_address) == health_pb2.HealthCheckResponse.NOT_SERVING
        other = Listening(health_address, running.service, running.listener)
        assert (await refusal(other)).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_is_gone_without_a_word_is_disconnected() -> None:
    async with (
        listening(keepalive_seconds=1.0, keepalive_timeout_seconds=1.0) as running,
        http2(running.address) as reader,
        asyncio.timeout(10),
    ):
        assert b"ping_timeout" in await reader.read(-1)  # it answers no ping


async def test_connections_of_an_age_are_renewed_and_neither_calls_nor_streams_on_them_fail() -> None:
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def requests() -> AsyncIterator[bytes]:
        while True:
            yield await lines.get()

    async with listening(max_connection_age_seconds=0.2) as running, connected(running.address) as channel:
        stream = channel.stream_stream(STREAM)(requests())
        answers = aiter(stream)
        for number in range(150):
            assert await channel.unary_unary(ECHO)(b"%d" % number) == b"%d" % number
            await lines.put(b"streamed %d" % number)
            assert await anext(answers) == b"streamed %d" % number
            await asyncio.sleep(0.01)
        stream.cancel()
        assert len(running.service.peers) > 3


async def test_calls_that_outlast_the_grace_of_an_old_connection_fail() -> None:
    async with (
        listening(max_connection_age_seconds=0.2, connection_grace_seconds=0.2) as running,
        connected(running.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await channel.unary_unary(WAIT)(b"wait", timeout=10)
        assert cut.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_may_ping_as_often_as_is_allowed_without_calls() -> None:
    options = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_permit_without_calls", 1)]
    options += [("grpc.http2.max_pings_without_data", 0)]
    async with (
        listening(min_ping_seconds=0.5) as running,
        grpc.aio.insecure_channel(running.address, options) as channel,
    ):
        await channel.unary_unary(ECHO)(b"hello")
        await asyncio.sleep(4.5)  # gRPC puts up with two pings that come too early
        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_a_stream_that_nobody_reads_holds_up_no_other_call_of_its_connection() -> None:
    async def requests() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    async with listening() as running, connected(running.address) as channel:
        stream = channel.stream_stream(STREAM)(requests())
        async with asyncio.timeout(10):
            before = -1
            while before < len(running.service.handled):  # until the server waits for room to answer
                before = len(running.service.handled)
                await asyncio.sleep(0.2)
            for size in (100, 300_000):
                assert await channel.unary_unary(ECHO)(bytes(size)) == bytes(size)
        stream.cancel()


@contextlib.asynccontextmanager
async def http2(address: str) -> AsyncGenerator[asyncio.StreamReader]:
    """A connection that has introduced itself, and says no more."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(HTTP2)
        await reader.readexactly(9)
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
