"""What the engine tells of its work, for metrics."""

from enum import Enum
from typing import Protocol

from vecserve_server.engine.scheduler import Batch


class Refusal(Enum):
    """Why a call was not accepted."""

    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"


class Drop(Enum):
    """Why queued items were not computed."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class Observer(Protocol):
    """Is told of what happens, on whichever thread it happens; it must be quick."""

    def refused(self, model: str, reason: Refusal) -> None:
        """A call was not accepted."""
        ...

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        """Items left the queue uncomputed."""
        ...

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        """A batch was run; `late` of its items ended after their deadline."""
        ...


class Unobserved:
    """An observer that takes no note."""

    def refused(self, model: str, reason: Refusal) -> None: ...

    def dropped(self, model: str, reason: Drop, count: int) -> None: ...

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None: ...
