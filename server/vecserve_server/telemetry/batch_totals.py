"""What was computed, in sums that one look of Prometheus shows together."""

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vecserve_server.engine.scheduler import Batch
from vecserve_server.telemetry.distributions import Distribution

_LABELS = ("model", "priority")
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
class Totals:
    """Of the batches of one model and priority. Units are tokens of texts, and images."""

    items: int = 0
    """That were computed."""
    late: int = 0
    """That were computed after their deadline."""
    failed: int = 0
    failed_batches: int = 0
    seconds: float = 0.0
    """Of instances."""
    units: int = 0
    """Without padding."""
    padding: int = 0
    sizes: Distribution = field(default_factory=lambda: Distribution(_ITEMS))
    """Numbers of items of each batch."""

    def add(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        """Takes note of one more."""
        count, size = len(batch.items), batch.size
        self.sizes.observe(count)
        self.seconds += seconds
        self.units += size
        self.padding += batch.padded_size - size
        self.late += late
        if failed:
            self.failed += count
            self.failed_batches += 1
        else:
            self.items += count


class BatchTotals(Collector):
    """The totals as metrics. Thread-safe.

    A batch changes five of them: as many of prometheus_client's, each with a lock of its own, took 26 µs of a text
    alone, whose caller waits meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], Totals] = {}

    def begin(self, model: str, priority: str) -> None:
        """Begins series at 0, unless they have begun; batches of others don't count."""
        with self._lock:
            self._totals.setdefault((model, priority), Totals())

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        """Takes note of a batch; `late` of its items ended after their deadline."""
        with self._lock:
            if totals := self._totals.get((batch.model, batch.priority.value)):  # else its model has gone meanwhile
                totals.add(batch, seconds, late, failed=failed)

    def forget(self, model: str) -> None:
        """Ends the series of a model."""
        with self._lock:
            self._totals = {labels: totals for labels, totals in self._totals.items() if labels[0] != model}

    def describe(self) -> Iterator[Metric]:
        """The metrics without values."""
        return _families({})

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            known = copy.deepcopy(self._totals)
        return _families(known)


def _families(known: dict[tuple[str, str], Totals]) -> Iterator[Metric]:
    for name, description, total in _COUNTERS:
        counter = CounterMetricFamily(f"vecserve_{name}", description, labels=_LABELS)
        for labels, totals in known.items():
            counter.add_metric(labels, getattr(totals, total))
        yield counter
    sizes = HistogramMetricFamily("vecserve_batch_items", "Inputs of each batch", labels=_LABELS)
    for labels, totals in known.items():
        sizes.add_metric(labels, totals.sizes.buckets(), totals.sizes.sum)
    yield sizes


_COUNTERS = (
    ("computed_items", "Inputs that were computed", "items"),
    ("late_items", "Inputs computed, but after their deadline", "late"),
    ("failed_items", "Inputs whose batch failed", "failed"),
    ("failed_batches", "Batches whose run failed", "failed_batches"),
    ("batch_seconds", "Time of instances spent on batches", "seconds"),
    ("batch_units", "Units in batches, without padding", "units"),
    ("batch_padding_units", "Units of padding in batches", "padding"),
)
