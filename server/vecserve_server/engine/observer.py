"""What the engine tells of its work, for metrics and statistics."""

from collections.abc import Sequence
from enum import Enum

from vecserve_server.engine.scheduler import Batch
from vecserve_server.engine.timings import Timings
from vecserve_server.models.model import AnyModel


class Refusal(Enum):
    """Why a call was not accepted."""

    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    MODEL_FAILING = "model_failing"


class Drop(Enum):
    """Why queued items were not computed."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    MODEL_FAILING = "model_failing"


class Observer:
    """Is told of what happens, on whichever thread it happens; it must be quick. This one takes no note."""

    def loaded(self, model: AnyModel) -> None:
        """A version of a model is served from now on."""

    def unloaded(self, model: AnyModel) -> None:
        """It is not any more; another version of its name may be."""

    def refused(self, model: str, reason: Refusal) -> None:
        """A call was not accepted."""

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        """Items left the queue uncomputed."""

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        """A batch was run; `late` of its items ended after their deadline."""

    def answered(self, model: str, timings: Timings) -> None:
        """A call got all of its vectors."""

    def unanswered(self, model: str, seconds: float) -> None:
        """A call ended without them after `seconds`: refused, failed, or given up."""


class Observers(Observer):
    """Several observers, each told of everything, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def loaded(self, model: AnyModel) -> None:
        for observer in self._observers:
            observer.loaded(model)

    def unloaded(self, model: AnyModel) -> None:
        for observer in self._observers:
            observer.unloaded(model)

    def refused(self, model: str, reason: Refusal) -> None:
        for observer in self._observers:
            observer.refused(model, reason)

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        for observer in self._observers:
            observer.dropped(model, reason, count)

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        for observer in self._observers:
            observer.ran(batch, seconds, late, failed=failed)

    def answered(self, model: str, timings: Timings) -> None:
        for observer in self._observers:
            observer.answered(model, timings)

    def unanswered(self, model: str, seconds: float) -> None:
        for observer in self._observers:
            observer.unanswered(model, seconds)
