"""Histograms for the path of a call."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Distribution:
    """Counts values by bucket, on one thread at a time; whoever reads it meanwhile may miss the last one.

    prometheus_client's Histogram takes 1.3 µs each time, most of it for its two locks, and a call has five durations;
    this takes a quarter.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Takes note of one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> list[tuple[str, int]]:
        """Upper bounds, and how many were at most that."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(bounds, accumulate(self._counts), strict=True))

    @property
    def sum(self) -> float:
        """All of them together."""
        return self._sum


class LabelledDistributions(dict[tuple[str, ...], Distribution], Collector):
    """A histogram with labels: its children by their values, made when first asked for."""

    def __init__(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__()
        self._name, self._description, self._labels = name, description, labels
        self._bounds = bounds
        self._model = labels.index("model")

    def __missing__(self, values: tuple[str, ...]) -> Distribution:
        child = self[values] = Distribution(self._bounds)
        return child

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (registries keep them as keys)
        return id(self)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The metric without values."""
        yield HistogramMetricFamily(self._name, self._description, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        for values, child in list(self.items()):
            family.add_metric(values, child.buckets(), child.sum)
        yield family

    def forget(self, model: str) -> None:
        """Ends the series of a model."""
        for values in [values for values in list(self) if values[self._model] == model]:
            del self[values]
