"""Metrics with labels, whose children are found at the price of a dictionary."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from vecserve_server.telemetry.durations import LabelledDurations

MetricT = TypeVar("MetricT", Counter, Histogram)


class Labelled(dict[tuple[str, ...], MetricT], Generic[MetricT]):
    """The children of a metric by the values of its labels, made when first asked for. Thread-safe.

    `labels()` takes a lock and 1.2 µs each time, twice what it takes to count.
    """

    def __init__(self, metric: MetricT, labels: Sequence[str]) -> None:
        super().__init__()
        self._metric = metric
        self._model = labels.index("model")

    def __missing__(self, values: tuple[str, ...]) -> MetricT:
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
        self._all: list[Labelled[Counter] | Labelled[Histogram] | LabelledDurations] = []

    def counter(self, name: str, description: str, *labels: str) -> Labelled[Counter]:
        """A counter, `vecserve_<name>_total`."""
        metric = Labelled(Counter(f"vecserve_{name}", description, labels, registry=self._registry), labels)
        self._all.append(metric)
        return metric

    def histogram(self, name: str, description: str, *labels: str, buckets: Sequence[float]) -> Labelled[Histogram]:
        """A histogram, `vecserve_<name>`."""
        histogram = Histogram(f"vecserve_{name}", description, labels, buckets=buckets, registry=self._registry)
        metric = Labelled(histogram, labels)
        self._all.append(metric)
        return metric

    def durations(self, name: str, description: str, *labels: str, buckets: Sequence[float]) -> LabelledDurations:
        """A histogram of seconds, `vecserve_<name>`, for one thread."""
        metric = LabelledDurations(f"vecserve_{name}", description, labels, buckets)
        self._registry.register(metric)
        self._all.append(metric)
        return metric

    def forget(self, model: str) -> None:
        """Ends the series of a model."""
        for metric in self._all:
            metric.forget(model)
