"""What speaks against the figures of a measurement. Pure."""

from collections.abc import Iterator
from typing import Final

from vecserve_bench.figures import number, percent
from vecserve_bench.record import Measurement, Record, load_name

BUSY: Final = 0.9
"""Share of a core from which on a process of the harness counts as the bottleneck."""
LATE_SHARE: Final = 0.01
"""Share of calls that may be sent late."""
KEPT_UP: Final = 0.98
"""Share of the offered calls that a server answers which keeps up with them."""


def warnings(measurement: Measurement) -> list[str]:
    """Return what a reader has to know before believing the figures, most important first."""
    return [
        *_harness(measurement),
        *_late(measurement),
        *_rate(measurement),
        *_connections(measurement),
        *_none(measurement),
        *_vectors(measurement),
    ]


def few_calls(measurement: Measurement) -> str:
    """Return which percentiles rest on one call; empty where none does."""
    ok = measurement.statuses.get("OK", 0)
    thin = [f"p{point:g}" for point in (99, 99.9) if round(ok * (100 - point)) < 100]
    if not ok or not thin:
        return ""
    return f"{' and '.join(thin)} of {ok} calls {'is' if len(thin) == 1 else 'are'} the slowest call: run longer"


def notable(record: Record) -> list[str]:
    """Return the warnings of a record's measurements, each with its load where there are several.

    Of a search, those at the rate that was found, and those that make the search's limit the harness's.
    """
    measurements = record.measurements
    if record.search:
        rate = record.search.max_rate_per_s
        measurements = [each for each in measurements if each.rate_per_s == rate or harness_limited(each)]
    several = len(record.measurements) > 1
    lines = [
        f"{load_name(measurement)}: {warning}" if several else warning
        for measurement in measurements
        for warning in measurement.warnings
    ]
    return list(dict.fromkeys(lines))


def harness_limited(measurement: Measurement) -> bool:
    """Return whether the harness, not the server, decided the figures."""
    return any(True for _ in (*_harness(measurement), *_late(measurement)))


def _harness(measurement: Measurement) -> Iterator[str]:
    busiest = max((process.core_share for process in measurement.harness), default=0.0)
    if busiest >= BUSY:
        processes = len(measurement.harness)
        yield (
            f"the harness was the bottleneck: a process of it took {percent(busiest)} of a core; "
            f"--processes {2 * processes} gives it more, if the machine has them"
        )


def _late(measurement: Measurement) -> Iterator[str]:
    sends = measurement.sends
    # Held calls wait for the server's answers, streams or connections.
    if sends.late_share > LATE_SHARE and sends.held < sends.late / 2:
        ordinary = not all(process.realtime for process in measurement.harness)
        hint = ", and the harness has no real-time priority" if ordinary else ""
        yield (
            f"{percent(sends.late_share)} of the calls were sent more than {sends.late_after_ms:g} ms late "
            f"(99th percentile {number(sends.lag_p99_ms)} ms): the machine was too busy{hint}"
        )


def _rate(measurement: Measurement) -> Iterator[str]:
    if measurement.offered_per_s and measurement.throughput_per_s < KEPT_UP * measurement.offered_per_s:
        share = measurement.throughput_per_s / measurement.offered_per_s
        yield f"the server answered {percent(share)} of the offered calls OK within the window: it did not keep up"
    if measurement.sends.held:
        yield f"{measurement.sends.held} calls were held back: too many were under way, or no connection took them"


def _connections(measurement: Measurement) -> Iterator[str]:
    connections = measurement.connections
    if connections.lost or connections.refused:
        yield (
            f"{connections.lost} connections were lost and {connections.refused} attempts refused: {connections.error}"
        )


def _none(measurement: Measurement) -> Iterator[str]:
    if not measurement.statuses.get("OK"):
        yield "no call was OK"


def _vectors(measurement: Measurement) -> Iterator[str]:
    vectors = measurement.vectors
    if vectors and vectors.bad:
        yield f"{vectors.bad} of {vectors.responses} responses were not sound: {vectors.example}"
