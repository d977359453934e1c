"""A call on its way, and what becomes of it."""

import math
from enum import IntEnum
from typing import Protocol

from vecserve_loadtest.connection import Exchange
from vecserve_loadtest.outbox import Body


class Ending(IntEnum):
    """Who ended a call."""

    ANSWERED = 0
    """The server, with a status or by resetting the stream."""
    EXPIRED = 1
    """The client, when the deadline had passed: DEADLINE_EXCEEDED."""
    DISCONNECTED = 2
    """The loss of the connection: UNAVAILABLE."""
    ABANDONED = 3
    """The client, at the end of the drain time: CANCELLED."""
    UNSENT = 4
    """The client, before it was sent: there was no connection (UNAVAILABLE), its deadline passed while it was held
    (DEADLINE_EXCEEDED), or the drain time ended (CANCELLED)."""


class Carrier(Protocol):
    """What calls are sent over."""

    def cancel(self, exchange: "Call", /) -> None:
        """Give up a call that is in flight."""
        ...


class Call(Exchange):
    """One call of a load. Times are seconds on the run's clock.

    Attributes:
        message: Index of its message in the workload.
        intended: When it was due.
        sent: When it was sent first; NaN before.
        expires: When its deadline passes; infinity where it has none.
        connection: What carries it; None before it is sent, between being refused and sent again, and at the end.
        resent: Whether it was sent again, after the server had not begun with it.
        ended: Whether it is over.
    """

    sent: float = math.nan
    expires: float = math.inf
    connection: Carrier | None = None
    resent: bool = False
    ended: bool = False

    def __init__(self, body: Body, message: int, intended: float) -> None:
        super().__init__(body)
        self.message = message
        self.intended = intended

    def renew(self) -> None:
        """Forget the server's refusal, to be sent once more."""
        self.received = 0
        self.parts = None if self.parts is None else []
        self.head = self.trailers = b""
        self.reset = None
        self.unprocessed = False
        self.connection = None
        self.resent = True
