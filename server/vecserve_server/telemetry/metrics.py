"""Metrics of the models and of the engine's work, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Info, start_http_server

from vecserve_server.engine.observer import Drop, Observer, Refusal
from vecserve_server.engine.scheduler import Batch
from vecserve_server.models.model import AnyModel


class Metrics(Observer):
    """An observer of the engine that counts. Units are tokens of texts, and images."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._versions: dict[str, str] = {}
        self._models = Info("vecserve_model", "Models that are served", ["model"], registry=self._registry)
        self._refused = self._counter("refused_calls", "Calls that were not accepted", "model", "reason")
        self._dropped = self._counter("dropped_items", "Inputs that left the queue uncomputed", "model", "reason")
        self._items = self._counter("computed_items", "Inputs that were computed", "model", "priority")
        self._failed = self._counter("failed_items", "Inputs whose batch failed", "model", "priority")
        self._late = self._counter("late_items", "Inputs computed, but after their deadline", "model", "priority")
        self._batches = self._counter("batches", "Batches that were run", "model", "priority")
        self._seconds = self._counter("batch_seconds", "Time of instances spent on batches", "model", "priority")
        self._units = self._counter("batch_units", "Units in batches, without padding", "model", "priority")
        self._padding = self._counter("batch_padding_units", "Units of padding in batches", "model", "priority")

    def serve(self, address: str) -> None:
        """Answers scrapes at HOST:PORT, on threads of its own.

        Raises:
            OSError: the address can't be listened on.
        """
        host, _, port = address.rpartition(":")
        start_http_server(int(port), host.strip("[]"), self._registry)

    def loaded(self, model: AnyModel) -> None:
        manifest = model.manifest
        self._versions[model.name] = model.version
        self._models.labels(model.name).info(
            {
                "version": model.version,
                "modality": manifest.modality,
                "precision": manifest.precision,
                "computed_in": model.computed_in,
                "provider": model.execution_provider,
            }
        )

    def unloaded(self, model: AnyModel) -> None:
        if self._versions.get(model.name) == model.version:  # no other version has taken its place
            del self._versions[model.name]
            self._models.remove(model.name)

    def refused(self, model: str, reason: Refusal) -> None:
        self._refused.labels(model, reason.value).inc()

    def dropped(self, model: str, reason: Drop, count: int) -> None:
        self._dropped.labels(model, reason.value).inc(count)

    def ran(self, batch: Batch, seconds: float, late: int, *, failed: bool) -> None:
        labels = batch.model, batch.priority.value
        (self._failed if failed else self._items).labels(*labels).inc(len(batch.items))
        self._late.labels(*labels).inc(late)
        self._batches.labels(*labels).inc()
        self._seconds.labels(*labels).inc(seconds)
        self._units.labels(*labels).inc(batch.size)
        self._padding.labels(*labels).inc(batch.padded_size - batch.size)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"vecserve_{name}", description, labels, registry=self._registry)
