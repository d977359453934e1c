"""What connections may ask for, and how long they live."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against peers that send without end, or not at all. Times are in seconds."""

    max_receive_bytes: int = 4 * 2**20
    """Of one message, after decompression."""
    max_send_bytes: int = 2**31 - 1
    max_streams: int = 1000
    """Calls under way on one connection; more are refused as never begun, which clients send again by themselves."""
    max_connections: int = 10_000
    """More are closed as they come."""
    max_header_bytes: int = 16 * 2**10
    """Of one call's headers, counted as RFC 9113, section 10.5.1, does."""
    max_resets: int = 5000
    """Calls that a client may reset within `reset_time` before the connection is closed (CVE-2023-44487). A reset costs
    about what a refusal does, and clients whose deadlines pass under overload send many."""
    reset_time: float = 1.0
    window: int = 2**20
    """Bytes that a stream may send ahead of what its handler has read."""
    handshake: float = 20.0
    """Until a new connection has said that it speaks HTTP/2."""
    age: float = math.inf
    """After which a connection, give or take a tenth, takes no more calls."""
    age_grace: float = math.inf
    """That calls have on such a connection, before it is closed."""
    keepalive: float = math.inf
    """Of silence after which the peer is asked whether it is there."""
    keepalive_timeout: float = 20.0
    """That it has to answer."""
    rest: float = 0.02
    """That a connection is not read, at most, after a call that was answered without a handler, as many others were;
    less if their deadlines are short."""
    min_ping: float = 0.0
    """Between a peer's own pings: one that sends more without calls is disconnected."""
