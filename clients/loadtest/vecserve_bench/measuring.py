"""From what a load measured to what a record holds. Pure."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vecserve_bench.record import (
    Connections,
    HarnessProcess,
    Measurement,
    Percentiles,
    Sends,
    ServerSplit,
    Timeline,
    VectorCheck,
)
from vecserve_bench.settings import AtConcurrency, Step
from vecserve_bench.timing import durations
from vecserve_bench.warning import warnings
from vecserve_loadtest import LoadResult, ProcessCost, Status

POINTS: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

_INTERVALS = 60
_CALLS_PER_INTERVAL = 20
_NICE_INTERVALS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_POINTS_PER_HALVING = 5

Floats = npt.NDArray[np.float64]


def measurement(
    step: Step,
    load: LoadResult,
    processes: Sequence[ProcessCost],
    sizes: Sequence[int],
    vectors: VectorCheck | None = None,
) -> Measurement:
    """Return what a record holds of one measured window.

    Args:
        step: The load that was asked for.
        load: What was measured, of all processes together.
        processes: What each of them took.
        sizes: Inputs of each message.
        vectors: What was found in the responses, if they were looked at.
    """
    closed = isinstance(step, AtConcurrency)
    calls = load.calls
    ok = calls.status == Status.OK
    found = Measurement(
        loop="closed" if closed else "open",
        concurrency=step.concurrency if isinstance(step, AtConcurrency) else None,
        rate_per_s=None if isinstance(step, AtConcurrency) else step.rate,
        duration_s=load.duration,
        calls=len(ok),
        offered_per_s=None if closed else len(ok) / load.duration,
        throughput_per_s=load.throughput,
        inputs_per_s=load.throughput * float(np.asarray(sizes)[calls.message[ok]].mean()) if ok.any() else 0.0,
        statuses=load.statuses,
        failures=dict(load.failures),
        latency_ms=_latencies(load),
        distribution_ms=distribution(load.latencies(Status.OK) * 1e3),
        timeline=_timeline(load),
        server=_server(load),
        sends=_sends(load),
        max_in_flight=load.max_in_flight,
        connections=Connections(
            opened=load.connections.opened,
            lost=load.connections.lost,
            refused=load.connections.refused,
            error=load.connections.error,
        ),
        harness=[_process(process) for process in processes],
        vectors=vectors,
    )
    found.warnings.extend(warnings(found))
    return found


def distribution(values: Floats) -> list[tuple[float, float]]:
    """Return percentiles and their values, closer together the higher they are, up to that of the largest value."""
    if not values.size:
        return []
    halvings = math.log2(max(2, len(values)))
    steps = np.arange(0, halvings * _POINTS_PER_HALVING) / _POINTS_PER_HALVING
    points = [*(100 * (1 - 0.5**steps)).tolist(), 100.0]
    found = np.percentile(values, points, method="inverted_cdf").tolist()
    return list(zip(points, found, strict=True))


def _latencies(load: LoadResult) -> dict[str, Percentiles]:
    by_status = {name: load.latencies(Status[name]) for name in load.statuses}
    found = {**by_status, "all": load.latencies()} if by_status else {}
    return {name: _percentiles(values * 1e3) for name, values in found.items()}


def _percentiles(values: Floats) -> Percentiles:
    found = np.percentile(values, list(POINTS.values()), method="inverted_cdf").tolist()
    return Percentiles(calls=len(values), mean=float(values.mean()), **dict(zip(POINTS, found, strict=True)))


def _timeline(load: LoadResult) -> Timeline:
    calls = load.calls
    count = _intervals(load.duration, len(calls.status))
    ok = calls.status == Status.OK
    edges = np.linspace(0, load.duration, count + 1)
    # A closed loop's first calls were sent before the window.
    moments = np.clip(calls.intended, 0, None)

    def per_second(times: Floats) -> list[float]:
        return (np.histogram(times, edges)[0] * count / load.duration).tolist()

    latencies = _by_interval(moments[ok], calls.latency[ok] * 1e3, edges)
    return Timeline(
        interval_s=load.duration / count,
        due_per_s=per_second(moments),
        ok_per_s=per_second(np.concatenate((calls.completed[ok], load.carried))),
        failed_per_s=per_second(calls.completed[~ok]),
        p50_ms=[_percentile(values, 50) for values in latencies],
        p99_ms=[_percentile(values, 99) for values in latencies],
        max_ms=[_percentile(values, 100) for values in latencies],
    )


def _intervals(duration: float, calls: int) -> int:
    """Return how many equal intervals a window is cut into: of some calls each, and of a length that reads well."""
    most = min(_INTERVALS, max(1, calls // _CALLS_PER_INTERVAL))
    interval = next((each for each in _NICE_INTERVALS if duration / each <= most), duration)
    return max(1, round(duration / interval))


def _by_interval(moments: Floats, values: Floats, edges: Floats) -> list[Floats]:
    order = np.argsort(moments, kind="stable")
    return np.split(values[order], np.searchsorted(moments[order], edges[1:-1]))


def _percentile(values: Floats, point: float) -> float | None:
    return float(np.percentile(values, point, method="inverted_cdf")) if values.size else None


def _server(load: LoadResult) -> ServerSplit | None:
    rows = [row for row in load.server_timings if load.calls.status[row] == Status.OK]
    parts = [durations(load.server_timings[row]) for row in rows]
    names = list(dict.fromkeys(name for part in parts for name in part))
    if not names:
        return None
    stages = {name: sum(part.get(name, 0.0) for part in parts) / len(parts) for name in names}
    whole = float(load.calls.latency[rows].mean()) * 1e3
    return ServerSplit(samples=len(parts), stages_ms=stages, rest_ms=whole - sum(stages.values()))


def _sends(load: LoadResult) -> Sends:
    lag = load.calls.sent - load.calls.intended
    sent = lag[~np.isnan(lag)] * 1e3
    points = np.percentile(sent, (50, 99, 99.9, 100), method="inverted_cdf").tolist() if sent.size else [0.0] * 4
    return Sends(
        late=load.late_sends,
        late_share=load.late_sends / len(lag) if len(lag) else 0.0,
        late_after_ms=load.late_after * 1e3,
        held=load.held,
        unsent=load.totals.unsent,
        lag_p50_ms=points[0],
        lag_p99_ms=points[1],
        lag_p99_9_ms=points[2],
        lag_max_ms=points[3],
    )


def _process(cost: ProcessCost) -> HarnessProcess:
    per_call = None if math.isnan(cost.per_call) else cost.per_call * 1e6
    return HarnessProcess(cpu_per_call_us=per_call, core_share=cost.core_share, realtime=cost.realtime)
