"""Throws hostile requests at a server, and judges every answer."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from hardening import protocol
from hardening.images import Hostile
from hardening.messages import IMAGE, TEXT, Request, fuzzed, png
from hardening.texts import NOT_UTF8, Attack
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_loadtest.status import Status

DEADLINE = 60.0
"""Seconds after which a call that has no answer counts as a hang."""

_CONCURRENCY = 16
_ALLOWED = {Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.UNIMPLEMENTED}
# What is answered besides before a handler is: messages or metadata that are too large, deadlines that have passed.
_BY_GRPC = {Status.RESOURCE_EXHAUSTED, Status.DEADLINE_EXCEEDED}
# What grpc.aio's client makes of a stream that the server has refused before all of it was sent.
_ENDED_WHILE_SENDING = "Internal error from Core"
_OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]


@dataclass
class Tally:
    """How calls ended, and which of them ended as none should."""

    endings: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Counts by kind and code."""
    faults: list[str] = field(default_factory=list[str])
    slowest_health: float = 0.0
    """Seconds."""
    slowest: tuple[float, str] = (0.0, "")
    """Seconds of the call that took longest, and its name."""

    @property
    def total(self) -> int:
        return self.endings.total()

    def note(self, kind: str, code: int, *, told: str, by_grpc: bool = False) -> None:
        """Counts a call, and finds fault with it if its code is none that a client's mistake may have."""
        name = Status(code).name
        self.endings[kind, name] += 1
        too_large = told.startswith("SERVER: Received message larger")
        if code not in _ALLOWED and not ((by_grpc or too_large) and code in _BY_GRPC):
            self.faults.append(f"{kind}: {name} {told}")

    def timed(self, name: str, seconds: float) -> None:
        self.slowest = max(self.slowest, (seconds, name))

    def table(self) -> str:
        """Lines of kind, code and count."""
        return "\n".join(f"{kind:28} {code:20} {count:>7}" for (kind, code), count in sorted(self.endings.items()))


class Campaign:
    """Attacks on one server, in which every call is accounted for."""

    def __init__(self, address: str) -> None:
        self.tally = Tally()
        self._address = address

    async def messages(self, seed: int, count: int) -> None:
        """Random and mutated messages of every method."""
        requests = itertools.islice(fuzzed(seed), count)
        async with grpc.aio.insecure_channel(self._address, options=_OPTIONS) as channel:
            await self._each(requests, lambda request: self._message(channel, request))
        await self.check_that_it_serves()

    async def broken_protocol(self, seed: int, count: int) -> None:
        """Broken framing, each fault in turn."""
        draws = ((fault, random.Random(f"{seed} {index}")) for index, fault in _turns(protocol.FAULTS, count))
        await self._each(draws, lambda drawn: self._fault(*drawn))
        await self.check_that_it_serves()

    async def images(self, images: Iterable[Hostile], at_once: int = 4) -> None:
        """Each image in a call of its own."""
        requests = ((each.name, pb.EmbedImageRequest(images=[pb.Image(content=each.content)])) for each in images)
        await self._named("image", IMAGE, requests, at_once)

    async def texts(self, attacks: Iterable[Attack], at_once: int = 4) -> None:
        """Each text in a call of its own, and texts that are not UTF-8."""
        requests = ((each.name, pb.EmbedTextRequest(texts=[each.text])) for each in attacks)
        await self._named("text", TEXT, requests, at_once)
        async with grpc.aio.insecure_channel(self._address) as channel:
            for message in NOT_UTF8:
                await self._message(channel, Request(TEXT, (message,)))

    async def check_that_it_serves(self) -> None:
        """Embeds a text and an image as anybody would."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            text = pb.EmbedTextRequest(texts=["still here"]).SerializeToString()
            image = pb.EmbedImageRequest(images=[pb.Image(content=png())]).SerializeToString()
            for method, request in ((TEXT, text), (IMAGE, image)):
                await channel.unary_unary(method)(request, timeout=DEADLINE)

    async def _each(
        self, items: Iterable[Any], call: Callable[[Any], Awaitable[None]], at_once: int = _CONCURRENCY
    ) -> None:
        left = iter(items)

        async def work() -> None:
            for item in left:
                await call(item)

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def _message(self, channel: grpc.aio.Channel, request: Request) -> None:
        kind = request.method.rpartition("/")[2]
        try:
            if request.streams:
                await self._stream(channel, request, kind)
            else:
                await channel.unary_unary(request.method)(request.messages[0], timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            if error.details() == _ENDED_WHILE_SENDING:
                self.tally.endings[kind, "ended while sending"] += 1
            else:
                self.tally.note(kind, error.code().value[0], told=error.details() or "")
        else:
            self.tally.note(kind, Status.OK, told="")

    async def _stream(self, channel: grpc.aio.Channel, request: Request, kind: str) -> None:
        answers = 0
        async for answer in channel.stream_stream(request.method)(iter(request.messages), timeout=DEADLINE):
            answers += 1
            if kind == "StreamEmbed":
                self.tally.note("a stream's request", pb.StreamEmbedResponse.FromString(answer).error.code, told="")
        if kind == "StreamEmbed" and answers != len(request.messages):
            self.tally.faults.append(f"{kind}: {answers} answers to {len(request.messages)} requests")

    async def _fault(self, fault: protocol.Break, draw: random.Random) -> None:
        try:
            ended = await asyncio.to_thread(protocol.ending, self._address, fault, draw)
        except TimeoutError as error:
            self.tally.endings[fault.__name__, "hangs"] += 1
            self.tally.faults.append(f"{fault.__name__}: {error}")
            return
        if ended.code is None:
            self.tally.endings[fault.__name__, "closed"] += 1
        elif ended.code == Status.INTERNAL and ended.by_grpc and fault in protocol.ANSWERED_BY_GRPC:
            self.tally.endings[fault.__name__, "INTERNAL of gRPC"] += 1
        else:
            self.tally.note(fault.__name__, ended.code, told=ended.message, by_grpc=ended.by_grpc)

    async def _named(self, kind: str, method: str, requests: Iterable[tuple[str, Any]], at_once: int) -> None:
        async with grpc.aio.insecure_channel(self._address, options=_OPTIONS) as channel, self._health_watched():
            send = channel.unary_unary(method)

            async def call(named: tuple[str, Any]) -> None:
                name, request = named
                started, code, told = time.monotonic(), 0, ""
                try:
                    await send(request.SerializeToString(), timeout=DEADLINE)
                except grpc.aio.AioRpcError as error:
                    code, told = error.code().value[0], f"{name}: {error.details()}"
                self.tally.note(kind, code, told=told)
                self.tally.timed(name, time.monotonic() - started)

            await self._each(requests, call, at_once)
        await self.check_that_it_serves()

    def _health_watched(self) -> "_HealthWatch":
        return _HealthWatch(self._address, self.tally)


class _HealthWatch:
    """Asks for the server's health ten times a second, and remembers the slowest answer."""

    def __init__(self, address: str, tally: Tally) -> None:
        self._address = address
        self._tally = tally

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._ask())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _ask(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            await check(b"", timeout=DEADLINE)
            while True:
                started = time.monotonic()
                await check(b"", timeout=DEADLINE)
                self._tally.slowest_health = max(self._tally.slowest_health, time.monotonic() - started)
                await asyncio.sleep(0.1)


def _turns(faults: tuple[protocol.Break, ...], count: int) -> Iterator[tuple[int, protocol.Break]]:
    return ((index, faults[index % len(faults)]) for index in range(count))
