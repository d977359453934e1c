"""What is so at the moment of a scrape, which costs nothing between scrapes."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vecserve_server.engine.instances import Load


class Gauges(Collector):
    """A collector that looks at the server when it is asked."""

    def __init__(self, in_flight: Mapping[str, int]) -> None:
        """Takes the calls that have not ended, by method."""
        self._in_flight = in_flight
        self.serving: Callable[[], bool] = lambda: False
        """Whether calls are answered now."""
        self.load: Callable[[], Load | None] = lambda: None
        """What the engine has to do; None while there is none."""

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metrics without values."""
        return [*self._server(), *_engine(None)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return [*self._server(), *_engine(self.load())]

    def _server(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily("vecserve_serving", "Whether calls are answered", value=self.serving())
        calls = GaugeMetricFamily("vecserve_calls_in_flight", "Calls that have not ended", labels=["method"])
        for method, count in dict(self._in_flight).items():
            calls.add_metric([method], count)
        yield calls


def _engine(load: Load | None) -> Iterable[GaugeMetricFamily]:
    by_queue = ["model", "priority"]
    items = GaugeMetricFamily("vecserve_queue_items", "Inputs that wait for an instance", labels=by_queue)
    units = GaugeMetricFamily("vecserve_queue_units", "Units of those: tokens, or images", labels=by_queue)
    instances = GaugeMetricFamily("vecserve_instances", "Batches that can run at once", labels=["priority"])
    busy = GaugeMetricFamily("vecserve_busy_instances", "Batches that run", labels=["priority"])
    if load:
        for (model, priority), (item_count, unit_count) in load.queued.items():
            items.add_metric([model, priority.value], item_count)
            units.add_metric([model, priority.value], unit_count)
        for priority, count in load.busy.items():
            instances.add_metric([priority.value], load.instances)
            busy.add_metric([priority.value], count)
    return items, units, instances, busy
