"""Metrics with labels, whose children are found at the price of a dictionary."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter

from vecserve_server.telemetry.batch_totals import BatchTotals
from vecserve_server.telemetry.distributions import LabelledDistributions


class LabelledCounter(dict[tuple[str, ...], Counter]):
    """The children of a counter by the values of its labels, made when first asked for. Thread-safe.

    `labels()` takes a lock and 1.2 µs each time, twice what it takes to count.
    """

    def __init__(self, metric: Counter, labels: Sequence[str]) -> None:
        super().__init__()
        self._metric = metric
        self._model = labels.index("model")

    def __missing__(self, values: tuple[str, ...]) -> Counter:
        child = self[values] = self._metric.labels(*values)
        return child

    def forget(self, model: str) -> None:
        """Ends the series of a model."""
        for values in [values for values in list(self) if values[self._model] == model]:
            del self[values]
            self._metric.remove(*values)


class Families:
    """Makes metrics with a label `model`, and ends the series of models that have gone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._all: list[LabelledCounter | LabelledDistributions | BatchTotals] = []

    def counter(self, name: str, description: str, *labels: str) -> LabelledCounter:
        """A counter, `vecserve_<name>_total`."""
        metric = LabelledCounter(Counter(f"vecserve_{name}", description, labels, registry=self._registry), labels)
        self._all.append(metric)
        return metric

    def batch_totals(self) -> BatchTotals:
        """What batches sum up to."""
        totals = BatchTotals()
        self._registry.register(totals)
        self._all.append(totals)
        return totals

    def durations(self, name: str, description: str, *labels: str, buckets: Sequence[float]) -> LabelledDistributions:
        """A histogram of seconds, `vecserve_<name>`, for one thread."""
        metric = LabelledDistributions(f"vecserve_{name}", description, labels, buckets)
        self._registry.register(metric)
        self._all.append(metric)
        return metric

    def forget(self, model: str) -> None:
        """Ends the series of a model."""
        for metric in self._all:
            metric.forget(model)
