"""Results and records as runs would leave them, for what is made of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecserve_bench.measuring import measurement
from vecserve_bench.record import SCHEMA, Client, Measurement, Record, Search, Server
from vecserve_bench.settings import AtConcurrency, AtRate, Step
from vecserve_loadtest import Calls, LoadResult, ProcessCost, Status, Totals
from vecserve_loadtest.result import ConnectionCounts

TIMING = "preprocess;dur=0.5, queue;dur=1.5, infer;dur=2"


def load_result(
    latencies: Sequence[float] | NDArray[np.float64],
    *,
    duration: float = 10.0,
    statuses: Sequence[Status] | None = None,
    lag: Sequence[float] | None = None,
    timed: bool = True,
) -> LoadResult:
    """Calls that were due at equal distances in the window, with their latencies in seconds."""
    count = len(latencies)
    intended = (np.arange(count) + 0.5) * duration / max(1, count)
    status = np.array([Status.OK] * count if statuses is None else statuses, np.uint8)
    completed = intended + np.array(latencies, np.float64)
    calls = Calls(
        intended=intended,
        sent=intended + (np.zeros(count) if lag is None else np.array(lag)),
        completed=completed,
        status=status,
        ending=np.zeros(count, np.uint8),
        message=np.arange(count, dtype=np.uint32) % 2,
        response_bytes=np.full(count, 100),
    )
    return LoadResult(
        name="bench",
        duration=duration,
        calls=calls,
        totals=Totals(count, count, 0, 0, 0, 0, 0),
        ok_in_window=int(np.count_nonzero((status == Status.OK) & (completed < duration))),
        carried=np.empty(0),
        max_in_flight=7,
        held=0,
        late_after=0.001,
        connections=ConnectionCounts(1, 0, 0, ""),
        failures={Status(code).name: f"why {Status(code).name}" for code in set(status.tolist()) if code},
        responses={},
        server_timings=dict.fromkeys(range(0, count, 4), TIMING) if timed else {},
    )


RATE = AtRate(100)
COST = ProcessCost(user=0.2, system=0.1, elapsed=10.0, calls=1000, realtime=True)


def measured(
    step: Step = RATE,
    latencies: Sequence[float] | NDArray[np.float64] | None = None,
    cost: ProcessCost = COST,
    **result: Any,
) -> Measurement:
    """By default a thousand calls in ten seconds, of 1 to 1000 ms."""
    values = np.arange(1, 1001) / 1000 if latencies is None else latencies
    return measurement(step, load_result(values, **result), [cost], sizes=[1, 3])


def recorded(*measurements: Measurement, search: Search | None = None, **fields: Any) -> Record:
    record = Record(
        schema=SCHEMA,
        title="encoder: 100 calls/s",
        created="2026-11-22T12:00:00+00:00",
        command="vecserve bench --rate 100",
        settings={"connections": 1, "processes": 1, "duration_s": 10.0, "warmup_s": 2.0, "calls": None, "batch": "1"},
        server=Server(
            address="127.0.0.1:1",
            api="typed",
            model="encoder",
            version="1",
            digest="sha256:aa",
            modality="text",
            dimensionality=8,
            precision="fp32",
            execution_provider="CPUExecutionProvider",
            platform="",
        ),
        client=Client(vecserve="0", python="3", platform="Linux", processor="a processor", cores=2),
        work="one text; 1 a call",
        inputs_per_call=2.0,
        bytes_per_call=50.0,
        objective="",
        measurements=list(measurements),
        search=search,
        notes=[],
    )
    return replace(record, **fields)


def sweep(rates: Sequence[float] = (50, 100, 200)) -> list[Measurement]:
    return [measured(AtRate(rate), np.linspace(0.01, rate / 1000, 1000)) for rate in rates]


def closed_sweep(concurrencies: Sequence[int] = (1, 4, 16)) -> list[Measurement]:
    return [
        measured(AtConcurrency(each), np.linspace(0.01, 0.02 * each, 500 + 10 * each), timed=False)
        for each in concurrencies
    ]
