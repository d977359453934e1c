"""A run's result in a few dozen numbers, as JSON holds them."""

import math
from dataclasses import asdict
from typing import Any

from vecserve_loadtest.result import PERCENTILES, LoadResult, ProcessCost, RunResult
from vecserve_loadtest.status import Status


def summarize(result: RunResult) -> dict[str, Any]:
    """Return what a reader wants to see first. Names end in their units; None stands where nothing was measured."""
    return {
        "address": result.address,
        "started": result.started,
        "duration_s": result.duration,
        "process": _process(result.process),
        "loads": [_load(load) for load in result.loads],
    }


def _process(cost: ProcessCost) -> dict[str, Any]:
    return {
        "user_s": cost.user,
        "system_s": cost.system,
        "elapsed_s": cost.elapsed,
        "calls": cost.calls,
        "cpu_per_call_us": None if math.isnan(cost.per_call) else cost.per_call * 1e6,
        "core_share": cost.core_share,
        "realtime": cost.realtime,
    }


def _load(load: LoadResult) -> dict[str, Any]:
    return {
        "name": load.name,
        "duration_s": load.duration,
        "throughput_per_s": load.throughput,
        "ok_in_window": load.ok_in_window,
        "measured": len(load.calls.status),
        "statuses": load.statuses,
        "endings": load.endings,
        "latency_ms": {"all": _latency(load)} | {name: _latency(load, Status[name]) for name in load.statuses},
        "late_sends": load.late_sends,
        "late_after_s": load.late_after,
        "max_in_flight": load.max_in_flight,
        "held": load.held,
        "totals": asdict(load.totals),
        "connections": asdict(load.connections),
        "failures": dict(load.failures),
    }


def _latency(load: LoadResult, status: Status | None = None) -> dict[str, float] | None:
    percentiles = load.percentiles((*PERCENTILES, 100.0), status)
    if percentiles is None:
        return None
    named = {"max" if point == 100 else f"p{point:g}": 1000 * value for point, value in percentiles.items()}
    return {"mean": 1000 * float(load.latencies(status).mean()), **named}
