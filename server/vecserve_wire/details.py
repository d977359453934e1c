"""What is known of a call before its handler is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from vecserve_wire.headers import Metadata, SharedMetadata


@dataclass(slots=True)
class Details:
    """A call that begins."""

    method: str
    """/package.Service/Method."""
    invocation_metadata: Metadata
    timeout: float | None = None
    """Seconds that are left to it."""
    peer: str = ""
    """Where it comes from, as gRPC names peers."""
    on_end: list[Callable[[object], None]] = field(default_factory=list[Callable[[object], None]])
    """Are called when it has ended, whichever way."""


@dataclass(slots=True)
class Answer:
    """A status in place of a handler: the call is answered at once, and its messages are not read."""

    code: int
    """One of gRPC's."""
    message: str
    metadata: SharedMetadata = ()
    """Goes into the trailers."""
    own: Metadata = ()
    """Follows it, and is this call's alone, as an id."""
    waits: bool = False
    """Whether it comes when the first message does, or is late: clients that send messages one by one may still be at
    it, and grpc.aio's then tells INTERNAL in place of the status."""


def peer_name(address: Any) -> str:
    """As gRPC names peers."""
    if isinstance(address, tuple) and len(cast("tuple[Any, ...]", address)) >= 2:
        host, port = cast("tuple[Any, ...]", address)[:2]
        return f"ipv6:[{host}]:{port}" if ":" in str(host) else f"ipv4:{host}:{port}"
    return f"unix:{address or ''}"
