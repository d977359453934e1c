"""What one connection may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, each against a peer that sends without end."""

    max_receive_bytes: int = 4 * 2**20
    """Of one message, after decompression."""
    max_send_bytes: int = 2**31 - 1
    max_streams: int = 1000
    """Calls under way on one connection; more are refused as never begun, which clients retry by themselves."""
    max_connections: int = 10_000
    """More are closed as they come."""
    max_header_bytes: int = 16 * 2**10
    """Of one call's headers, counted as RFC 9113, section 10.5.1, does."""
    max_resets: int = 200
    """Calls that a client resets within `reset_seconds` before the connection is closed: CVE-2023-44487."""
    reset_seconds: float = 1.0
    window: int = 2**20
    """Bytes that a stream may send ahead of what its handler has read."""
    handshake_seconds: float = 10.0
    """Time for a new connection's preface."""
