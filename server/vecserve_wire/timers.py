"""When a connection is asked for a sign of life, renewed, or given up."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from vecserve_wire.limits import Limits

_KEEPALIVE = b"vecserve"
_JITTER = 0.1
"""Of the age: connections that were made together are not renewed together."""
_ANSWER_TIME = 2.0
"""That a client has to answer a last ping, and to take what was sent when the connection is closed."""
_MOST_STRIKES = 2


class Peer(Protocol):
    """The connection that timers act on."""

    limits: Limits

    @property
    def greeted(self) -> bool: ...

    def ping(self, content: bytes) -> None: ...

    def drain(self) -> None: ...

    def refuse_calls(self) -> None: ...

    def end(self, reason: str) -> None: ...

    def abort(self) -> None: ...


class Timers:
    """Of one connection. Time is the event loop's."""

    def __init__(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        self._peer = peer
        self._loop = loop
        self._heard_at = loop.time()
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """The connection is there."""
        limits = self._peer.limits
        self._set("handshake", limits.handshake, self._check_greeting)
        self._set("age", limits.age * random.uniform(1 - _JITTER, 1 + _JITTER), self._renew)  # noqa: S311 (no secret)
        self._set("keepalive", limits.keepalive, self._check_silence)

    def stop(self) -> None:
        """The connection is gone."""
        for handle in self._handles.values():
            handle.cancel()

    def heard(self) -> None:
        """Something came from the peer."""
        self._heard_at = self._loop.time()

    def draining(self) -> None:
        """The peer was told that it is the end; it need not have understood."""
        self._set("draining", _ANSWER_TIME, self._peer.refuse_calls)

    def leaving(self) -> None:
        """All was said; a peer that does not read keeps nothing alive."""
        self._set("leaving", _ANSWER_TIME, self._peer.abort)

    def _set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        if math.isfinite(seconds):
            self._handles[name] = self._loop.call_later(seconds, act)

    def _check_greeting(self) -> None:
        if not self._peer.greeted:
            self._peer.abort()

    def _renew(self) -> None:
        self._peer.drain()
        self._set("age", self._peer.limits.age_grace, lambda: self._peer.end("max_age"))

    def _check_silence(self) -> None:
        limits = self._peer.limits
        left = self._heard_at + limits.keepalive - self._loop.time()
        if left > 0:
            self._set("keepalive", left, self._check_silence)
        else:
            self._peer.ping(_KEEPALIVE)
            asked_at = self._loop.time()
            self._set("keepalive", limits.keepalive_timeout, lambda: self._check_answer(asked_at))

    def _check_answer(self, asked_at: float) -> None:
        if self._heard_at >= asked_at:
            self._check_silence()
        else:
            self._peer.end("ping_timeout")


class Strikes:
    """Counts pings that come too early while there are no calls, as gRPC's servers do. Pure."""

    def __init__(self, least: float) -> None:
        """`least` seconds are to lie between two."""
        self._least = least
        self._last = -math.inf
        self._count = 0

    def add(self, now: float, *, idle: bool) -> bool:
        """Notes a ping; whether that was one too many."""
        early = idle and now - self._last < self._least
        self._last = now
        self._count = self._count + 1 if early else 0
        return self._count > _MOST_STRIKES

    def forgive(self) -> None:
        """Begins anew, as gRPC has it whenever the server has sent something: clients measure how fast it comes."""
        self._last = -math.inf
        self._count = 0


class Resets:
    """Counts calls that were begun only to be reset. Pure."""

    def __init__(self, most: int, seconds: float) -> None:
        """`most` of them may come within so many seconds."""
        self._times: deque[float] = deque(maxlen=most)
        self._seconds = seconds

    def add(self, now: float) -> bool:
        """Notes one; whether that was one too many."""
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds:
            return True
        self._times.append(now)
        return False
