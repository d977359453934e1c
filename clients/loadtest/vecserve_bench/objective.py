"""What latency and error share are asked for, and whether a measurement has them. Pure."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from vecserve_bench.figures import number, percent
from vecserve_bench.record import Measurement
from vecserve_bench.warning import KEPT_UP

DEFAULT_ERRORS: Final = 0.001
"""Share of calls that may fail where nothing else is said."""

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LATENCY = re.compile(r"p(?P<point>\d+(?:\.\d+)?)=(?P<value>\d+(?:\.\d+)?)(?P<unit>us|ms|s)")
_ERRORS = re.compile(r"errors=(?P<value>\d+(?:\.\d+)?)%")
_TAIL = 5  # calls that must lie above a percentile for it to be judged


@dataclass(frozen=True, slots=True)
class Objective:
    """Percentiles of the OK calls' latency, and a share of calls that may fail."""

    latencies_ms: tuple[tuple[float, float], ...]
    """Percentile (0 to 100) and the most it may be."""
    errors: float = DEFAULT_ERRORS

    FORM: ClassVar = "pN=LATENCY[,pN=LATENCY...][,errors=PERCENT%]"

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """Read what `FORM` says, e.g. `p99=50ms` or `p50=10ms,p99.9=0.2s,errors=1%`.

        Raises:
            ValueError: If it is something else.
        """
        latencies: list[tuple[float, float]] = []
        errors = DEFAULT_ERRORS
        for part in text.replace(" ", "").split(","):
            if (found := _LATENCY.fullmatch(part)) and 0 < float(found["point"]) < 100:
                latencies.append((float(found["point"]), float(found["value"]) * _UNITS[found["unit"]]))
            elif (found := _ERRORS.fullmatch(part)) and float(found["value"]) <= 100:
                errors = float(found["value"]) / 100
            else:
                raise ValueError(f"an objective is {cls.FORM}, such as p99=50ms or p50=10ms,errors=1%, not {text!r}")
        if not latencies:
            raise ValueError(f"an objective has at least one latency, such as p99=50ms, and {text!r} has none")
        return cls(tuple(latencies), errors)

    def missed(self, measurement: Measurement) -> list[str]:
        """Return how a measurement misses the objective; nothing where it meets it.

        An open loop must also have had its calls answered as fast as they came: at a rate that the server can't keep
        up with latency depends on how long one looks.
        """
        return [*self._errors(measurement), *self._latencies(measurement), *self._backlog(measurement)]

    def seconds(self, rate: float, least: float) -> float:
        """Return how long to measure at a rate so that calls lie above the highest percentile, but `least`."""
        highest = max(point for point, _ in self.latencies_ms)
        return max(least, _TAIL / (1 - highest / 100) / rate)

    def __str__(self) -> str:
        latencies = [f"p{point:g}={value:g}ms" for point, value in self.latencies_ms]
        return ",".join([*latencies, f"errors={100 * self.errors:g}%"])

    @property
    def words(self) -> str:
        """The objective for people, e.g. `p99 ≤ 50 ms, errors ≤ 0.1 %`."""
        latencies = [f"p{point:g} ≤ {value:g} ms" for point, value in self.latencies_ms]
        return ", ".join([*latencies, f"errors ≤ {100 * self.errors:g} %"])

    def _errors(self, measurement: Measurement) -> Iterator[str]:
        if measurement.error_share > self.errors:
            named = {name: count for name, count in measurement.statuses.items() if name != "OK"}
            most = max(named, key=lambda name: named[name], default="no calls")
            yield f"{percent(measurement.error_share)} of calls failed, most with {most}"

    def _latencies(self, measurement: Measurement) -> Iterator[str]:
        for point, limit in self.latencies_ms:
            value = percentile(measurement, point)
            if value > limit:
                yield f"p{point:g} was {number(value)} ms"

    def _backlog(self, measurement: Measurement) -> Iterator[str]:
        offered = measurement.offered_per_s
        failed = measurement.timeline.failed_per_s
        answered = measurement.throughput_per_s + sum(failed) / max(1, len(failed))
        if offered and answered < KEPT_UP * offered:
            yield f"{number(answered)} of {number(offered)} calls/s were answered"


def percentile(measurement: Measurement, point: float) -> float:
    """Return a percentile of the OK calls' latency in milliseconds; infinity where no call was OK.

    Of those that a record has no name for, it is read off the distribution, at the next higher point.
    """
    named = measurement.latency_ms.get("OK")
    if named is None:
        return math.inf
    known = {50.0: named.p50, 90.0: named.p90, 95.0: named.p95, 99.0: named.p99, 99.9: named.p99_9}
    if point in known:
        return known[point]
    points = np.array([each for each, _ in measurement.distribution_ms])
    return measurement.distribution_ms[int(np.searchsorted(points, point - 1e-9))][1]
