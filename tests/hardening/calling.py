"""Calls that never stop coming, each of them accounted for."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio

from hardening.messages import TEXT
from vecserve.v1 import embedding_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS = pb.EmbedTextRequest(texts=["a cat on a mat", "a dog in the fog " * 8]).SerializeToString()
_TIMEOUT = 30.0

# Or channels to one address share a connection.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]


@dataclass(frozen=True)
class Sent:
    """One call."""

    began: float
    ended: float
    code: grpc.StatusCode
    told: str
    by_server: bool
    """Whether the server itself answered, as its request id shows."""


@dataclass
class Callers:
    """Clients that call as fast as they are answered."""

    address: str
    channels: int = 8
    calls_each: int = 8
    sent: list[Sent] = field(default_factory=list[Sent])

    async def call_until(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set and the last calls have ended."""
        await asyncio.gather(*(self._channel(stop) for _ in range(self.channels)))

    async def _channel(self, stop: asyncio.Event) -> None:
        async with grpc.aio.insecure_channel(self.address, options=_OPTIONS) as channel:
            await asyncio.gather(*(self._caller(channel, stop) for _ in range(self.calls_each)))

    async def _caller(self, channel: grpc.aio.Channel, stop: asyncio.Event) -> None:
        method = channel.unary_unary(TEXT)
        while not stop.is_set():
            began = time.monotonic()
            call = method(_TEXTS, timeout=_TIMEOUT)
            code = await call.code()
            trailers: Sequence[tuple[str, str | bytes]] = tuple(await call.trailing_metadata() or ())
            by_server = any(key == "x-request-id" for key, _ in trailers)
            self.sent.append(Sent(began, time.monotonic(), code, await call.details() or "", by_server))
            if code is not grpc.StatusCode.OK:
                await asyncio.sleep(0.05)
