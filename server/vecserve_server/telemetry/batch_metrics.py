"""What the engine refuses, drops and runs, as metrics."""

from prometheus_client import Counter

from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.priority import Priority
from vecserve_server.engine.scheduler import Batch
from vecserve_server.telemetry.labelled import Families, Labelled

_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class BatchMetrics(Observer):
    """An observer of the engine that counts. Units are tokens of texts, and images."""

    def __init__(self, families: Families, refused: Labelled[Counter]) -> None:
        served, counter = ("model", "priority"), families.counter
        self._refused = refused
        self._dropped = counter("dropped_items", "Inputs that left the queue uncomputed", "model", "reason")
        self._items = counter("computed_items", "Inputs that were computed", *served)
        self._late = counter("late_items", "Inputs computed, but after their deadline", *served)
        self._failed = counter("failed_items", "Inputs whose batch failed", *served)
        self._failed_batches = counter("failed_batches", "Batches whose run failed", *served)
        self._seconds = counter("batch_seconds", "Time of instances spent on batches", *served)
        self._units = counter("batch_units", "Units in batches, without padding", *served)
        self._padding = counter("batch_padding_units", "Units of padding in batches", *served)
        self._sizes = families.histogram("batch_items", "Inputs of each batch", *served, buckets=_ITEMS)

        for refusal in (Refusal.QUEUE_FULL, Refusal.DEADLINE):
            _ = refused["", refusal.value]  # of calls that were not read, see `begin`

    def begin(self, model: str) -> None:
        """Begins what alerts are about at 0: of a series that begins at 1, Prometheus sees no rise."""
        for refusal in Refusal:
            _ = self._refused[model, refusal.value]
        for drop in Drop:
            _ = self._dropped[model, drop.value]
        for priority in Priority:
            for counter in (self._items, self._late, self._failed, self._failed_batches):
                _ = counter[model, priority.value]

    def refused(self, model: str, reason: Refusal) -> None:
        self._refused[model, reason.value].inc()

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        self._dropped[model, reason.value].inc(count)

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        labels = batch.model, batch.priority.value
        count, size = len(batch.items), batch.size
        self._sizes[labels].observe(count)
        self._seconds[labels].inc(seconds)
        self._units[labels].inc(size)
        self._padding[labels].inc(batch.padded_size - size)
        if failed:
            self._failed[labels].inc(count)
            self._failed_batches[labels].inc()
        else:
            self._items[labels].inc(count)
        if late:
            self._late[labels].inc(late)
