"""What the engine refuses, drops and runs, as metrics."""

from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.telemetry.labelled import Families, LabelledCounter


class BatchMetrics(Observer):
    """An observer of the engine that counts. Units are tokens of texts, and images."""

    def __init__(self, families: Families, refused: LabelledCounter) -> None:
        self._refused = refused
        self._dropped = families.counter("dropped_items", "Inputs that left the queue uncomputed", "model", "reason")
        self._totals = families.batch_totals()
        for refusal in (Refusal.QUEUE_FULL, Refusal.DEADLINE):
            _ = refused["", refusal.value]  # of calls that were not read, see `begin`

    def begin(self, model: str) -> None:
        """Begins what alerts are about at 0: of a series that begins at 1, Prometheus sees no rise."""
        for refusal in Refusal:
            _ = self._refused[model, refusal.value]
        for drop in Drop:
            _ = self._dropped[model, drop.value]
        for priority in Priority:
            self._totals.begin(model, priority.value)

    def refused(self, model: str, reason: Refusal) -> None:
        self._refused[model, reason.value].inc()

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        self._dropped[model, reason.value].inc(count)

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        self._totals.ran(batch, seconds, late, failed=failed)
