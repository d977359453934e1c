"""Everything that Prometheus is told."""

import platform
from collections.abc import Callable
from importlib.metadata import version

import grpc
import onnxruntime
from prometheus_client import CollectorRegistry, Info, ProcessCollector, start_http_server

from vecserve_server.engine.engine import Engine
from vecserve_server.engine.observer import Observer
from vecserve_server.models.model import AnyModel
from vecserve_server.telemetry.batch_metrics import BatchMetrics
from vecserve_server.telemetry.call_metrics import CallMetrics
from vecserve_server.telemetry.gauges import Gauges
from vecserve_server.telemetry.labelled import Families


class Metrics(Observer):
    """The metrics of one server process, on a registry and a port of their own. Observes which models are served."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families = Families(self.registry)
        refused = self._families.counter("refused_calls", "Calls that were not accepted", "model", "reason")
        self.calls = CallMetrics(self._families, refused)
        """Observes calls."""
        self.batches = BatchMetrics(self._families, refused)
        """Observes the engine."""
        self._gauges = Gauges(self.calls.in_flight)
        self.registry.register(self._gauges)
        self._models = Info("vecserve_model", "Models that are served", ["model", "version"], registry=self.registry)
        self._served: set[tuple[str, str]] = set()
        Info("vecserve_build", "What serves", registry=self.registry).info(_build())
        ProcessCollector(registry=self.registry)

    def serve(self, address: str) -> None:
        """Answers scrapes at HOST:PORT, on threads of its own.

        Raises:
            OSError: the address can't be listened on.
        """
        host, _, port = address.rpartition(":")
        start_http_server(int(port), host.strip("[]"), self.registry)

    def watch(self, engine: Engine, serving: Callable[[], bool]) -> None:
        """Looks at the engine, and at whether calls are answered, at each scrape from now on."""
        self._gauges.load, self._gauges.serving = engine.load, serving

    def loaded(self, model: AnyModel) -> None:
        manifest = model.manifest
        self._models.labels(model.name, model.version).info(
            {
                "modality": manifest.modality,
                "precision": manifest.precision,
                "computed_in": model.computed_in,
                "provider": model.execution_provider,
            }
        )
        self._served.add((model.name, model.version))
        self.batches.begin(model.name)

    def unloaded(self, model: AnyModel) -> None:
        # With its last version go all series of the model.
        self._served.discard((model.name, model.version))
        self._models.remove(model.name, model.version)
        if not any(name == model.name for name, _ in self._served):
            self._families.forget(model.name)


def _build() -> dict[str, str]:
    return {
        "version": version("vecserve"),
        "python": platform.python_version(),
        "grpc": grpc.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
