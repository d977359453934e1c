"""Certificates over real connections: who is let in, who is not, and that no handler runs for the latter."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest
from authority import Authority
from listening import ECHO, Listening, listening

from vecserve_server.listening.watched import CHECK_SECONDS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def call(running: Listening, credentials: grpc.ChannelCredentials | None) -> bytes:
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(running.address, options)
    else:
        channel = grpc.aio.secure_channel(running.address, credentials, options)
    async with channel:
        return await channel.unary_unary(ECHO)(b"hello", timeout=5)


def trusting(authority: Authority, certificate: Path | None = None, key: Path | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.file.read_bytes(), key and key.read_bytes(), certificate and certificate.read_bytes()
    )


async def assert_refused(running: Listening, credentials: grpc.ChannelCredentials | None) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(running, credentials)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert running.service.handled == []


async def served_certificate(running: Listening, authority: Authority) -> bytes:
    """The certificate that a new connection is shown, as DER."""
    context = ssl.create_default_context(cafile=str(authority.file))
    host, _, port = running.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown


def der(certificate: Path) -> bytes:
    first = certificate.read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(first[0] + first[1])


async def test_a_client_that_trusts_the_authority_is_served(authority: Authority) -> None:
    certificate, key = authority.issue()
    async with listening(tls_cert=certificate, tls_key=key) as running:
        assert await call(running, trusting(authority)) == b"hello"


async def test_neither_plain_text_nor_another_authority_comes_through(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    async with listening(tls_cert=certificate, tls_key=key) as running:
        await assert_refused(running, None)
        await assert_refused(running, trusting(Authority(tmp_path, "other")))


async def test_clients_need_a_certificate_of_the_authority_that_was_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    other = Authority(tmp_path, "other")
    async with listening(tls_cert=certificate, tls_key=key, tls_client_ca=authority.file) as running:
        await assert_refused(running, trusting(authority))
        await assert_refused(running, trusting(authority, *other.issue("wrong")))
        await assert_refused(running, trusting(authority, *authority.issue("old", expired=True)))
        assert await call(running, trusting(authority, *authority.issue("client"))) == b"hello"


async def test_new_connections_get_a_new_certificate_and_broken_files_change_nothing(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate, key = authority.issue()
    async with listening(tls_cert=certificate, tls_key=key) as running:
        first = der(certificate)
        assert await served_certificate(running, authority) == first
        whole = key.read_bytes()
        key.write_bytes(whole[:100])
        await logged(caplog, f"certificates stay as they were: {key} holds no private key as PEM")
        assert await served_certificate(running, authority) == first
        authority.issue()
        await logged(caplog, "certificates read anew: localhost, 127.0.0.1, valid until")
        second = der(certificate)
        assert second != first
        assert await served_certificate(running, authority) == second
        assert await call(running, trusting(authority)) == b"hello"


async def test_clients_of_an_authority_that_is_dropped_are_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(old.file.read_bytes())
    async with listening(tls_cert=certificate, tls_key=key, tls_client_ca=clients) as running:
        assert await call(running, trusting(authority, *old.issue("a"))) == b"hello"
        clients.write_bytes(new.file.read_bytes())
        async with asyncio.timeout(10 * CHECK_SECONDS):
            while len(running.service.handled) < 2:
                await asyncio.sleep(0.1)
                try:
                    await call(running, trusting(authority, *new.issue("b")))
                except grpc.aio.AioRpcError:
                    continue
        running.service.handled.clear()
        await assert_refused(running, trusting(authority, *old.issue("a")))


async def logged(caplog: pytest.LogCaptureFixture, message: str) -> None:
    async with asyncio.timeout(10 * CHECK_SECONDS):
        while message not in caplog.text:
            await asyncio.sleep(0.05)
