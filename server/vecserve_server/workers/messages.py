"""What a supervisor and its workers tell each other, over a connection that ends with either of them."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from typing import Any


class Order(Enum):
    """What a supervisor tells a worker after its settings, which come first."""

    DRAIN = auto()
    """Finish what was accepted, then end."""
    END = auto()
    """End without waiting for it."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker answers calls."""

    models: str
    """Names and versions, for the log."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker can't start."""

    message: str
    """For whoever started the server."""


Report = Serving | Failed


async def receive(connection: Connection) -> Any:
    """The next message; None once the other end is closed. For one task at a time."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection.fileno())
    try:
        # Messages are short, and written at once: the rest of one is not waited for.
        return connection.recv()
    except (EOFError, ConnectionError):
        return None
