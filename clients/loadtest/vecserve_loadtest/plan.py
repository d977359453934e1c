"""What to send, how fast and for how long. Values only; times and durations are in seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Arrivals: TypeAlias = Literal["constant", "poisson"]
Keep: TypeAlias = Literal["none", "first", "all"]

UNIX: Final = "unix:"
"""What the address of a Unix socket begins with; a path follows."""

MAX_CONNECTIONS: Final = 500
"""Of a plan. They are waited for with select, which takes descriptors below 1024; a process has others too."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The calls of a load: one method, and messages that are sent in turn.

    Raises:
        ValueError: On a value out of its range.
    """

    method: str
    """The path, e.g. `/vecserve.v1.EmbeddingService/EmbedText`."""
    messages: Sequence[bytes]
    """Serialized requests, cycled through in order; whoever wants them mixed shuffles them. Streamed: without ids."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Sent with every call, e.g. `("x-vecserve-priority", "bulk")`. Names in lower case; values of `-bin` in base64."""
    deadline: float | None = None
    """What a call may take from when it is sent. The server is told, and the client gives up by itself too."""
    streamed: bool = False
    """Whether calls are the messages of one stream a connection, as StreamEmbed has them: see `stream`."""

    def __post_init__(self) -> None:
        if self.method.count("/") != 2 or not self.method.startswith("/"):
            raise ValueError(f"method must be /PACKAGE.SERVICE/METHOD, not {self.method!r}")
        if not self.messages:
            raise ValueError("messages is empty: there is nothing to send")
        for name, value in self.metadata:
            _check_metadata(name, value)
        if self.deadline is not None:
            _check_positive("deadline", self.deadline)
            if self.streamed:
                raise ValueError("deadline must be left out with streamed: gRPC's is for a whole stream, not a message")


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many calls under way at any time: the next is sent when one ends.

    Raises:
        ValueError: If the concurrency is below 1.
    """

    concurrency: int

    def __post_init__(self) -> None:
        _check_count("concurrency", self.concurrency)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Calls at times that don't depend on the answers, as users make them. Latency counts from those times.

    Raises:
        ValueError: On a value out of its range.
    """

    rate: float
    """Calls per second."""
    arrivals: Arrivals = "poisson"
    """Whether the time between calls is always the same, or drawn from an exponential distribution."""
    seed: int = 0
    """Of the draws: the same seed gives the same times."""
    max_in_flight: int = 10_000
    """Calls under way at most. Beyond it calls are held, and counted as such; their latency goes on counting."""
    late_after: float = 0.001
    """How long after its time a call may be sent without counting as late."""
    phase: float = 0.0
    """How long after the loop's beginning the first of constant arrivals is due."""

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)
        _check_choice("arrivals", self.arrivals, get_args(Arrivals))
        _check_count("max_in_flight", self.max_in_flight)
        _check_not_negative("late_after", self.late_after)
        _check_not_negative("phase", self.phase)


@dataclass(frozen=True, slots=True)
class Load:
    """One stream of calls, over connections of its own, with a result of its own.

    Raises:
        ValueError: On a value out of its range.
    """

    name: str
    workload: Workload
    loop: ClosedLoop | OpenLoop
    connections: int = 1
    """HTTP/2 connections. A call goes over the one with the fewest under way."""
    keep_responses: Keep = "none"
    """Which OK responses the result holds: "first" is enough to check that answers are sound."""
    server_timing_every: int = 0
    """Of how many measured calls one has its `server-timing` trailer kept; 0 keeps none."""
    calls: int | None = None
    """After how many measured calls the load's window ends, if the plan's has not ended before."""

    def __post_init__(self) -> None:
        _check_count("connections", self.connections)
        _check_choice("keep_responses", self.keep_responses, get_args(Keep))
        _check_not_negative("server_timing_every", self.server_timing_every)
        if self.calls is not None:
            _check_count("calls", self.calls)


@dataclass(frozen=True, slots=True)
class Plan:
    """Loads that are put on one server at once.

    Raises:
        ValueError: On a value out of its range.
    """

    address: str
    """HOST:PORT or unix:PATH of a server that speaks HTTP/2 without TLS."""
    loads: tuple[Load, ...]
    duration: float
    """Length of the window that is measured; of a load with a number of calls, its greatest length."""
    warmup: float = 0.0
    """How long the loads run before the window."""
    drain: float = 10.0
    """How long calls may take after the window before they are given up."""
    connect_timeout: float = 5.0
    """How long connecting may take, at the start and later."""
    poll_interval: float = 0.0005
    """Least time between two looks at the sockets: answers that come closer together are taken, and followed by the
    next calls, at once. That halves the CPU time of a call (31 µs instead of 60, 64 in flight), and lets a call that
    ends within this time of another seem up to this much longer. 0 for servers that answer within a few of it."""
    send_interval: float = 0.0
    """How long calls that are due may be kept back, to be sent together: for thousands a second from the machine of the
    server, where each wake-up puts off whoever computes. What is read meanwhile sends them too."""
    realtime: bool = False
    """Whether a process that carries out this plan alone is to have real-time priority, if the system allows it: for
    open loops beside the server on its machine. It takes the core from the server the moment a call is due."""

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if not self.address.startswith(UNIX) and not (host and port.isdecimal()):
            raise ValueError(f"address must be HOST:PORT, such as 127.0.0.1:50051, or unix:PATH, not {self.address!r}")
        if not self.loads:
            raise ValueError("loads is empty: there is nothing to run")
        if sum(load.connections for load in self.loads) > MAX_CONNECTIONS:
            raise ValueError(f"loads have more than {MAX_CONNECTIONS} connections together")
        if len({load.name for load in self.loads}) < len(self.loads):
            raise ValueError("loads have a name twice")
        _check_positive("duration", self.duration)
        _check_positive("connect_timeout", self.connect_timeout)
        for name in ("warmup", "drain", "poll_interval", "send_interval"):
            _check_not_negative(name, getattr(self, name))


def _check_metadata(name: str, value: str) -> None:
    if not name or name != name.lower() or name.startswith((":", "grpc-")):
        raise ValueError(f"metadata names are in lower case and not gRPC's own, and {name!r} is not such a name")
    if not (name + value).isascii() or not (name + value).isprintable():
        raise ValueError(f"metadata is printable ASCII, and {name}={value!r} isn't")


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, not {value}")


def _check_not_negative(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a number that is not negative, not {value}")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
