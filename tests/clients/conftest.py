import asyncio
import io
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from scripted_server import Server, running

from vecserve import AsyncClient, Client

Connect = Callable[..., Client]


class BlockingAsyncClient:
    """AsyncClient behind Client's face, so that one test serves both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = AsyncClient(*args, **kwargs)
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


@pytest.fixture(params=[Client, BlockingAsyncClient], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest, server: Server) -> Iterator[Connect]:
    """Makes clients of the server, sync in one run of the test and async in the other."""
    opened: list[Client] = []

    def connect(address: str = "", **kwargs: Any) -> Client:
        opened.append(cast(Client, request.param(address or server.address, **kwargs)))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has commands call the server, on a terminal of usual width."""
    monkeypatch.setenv("VECSERVE_ADDRESS", server.address)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on stdin."""
    return lambda content: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
