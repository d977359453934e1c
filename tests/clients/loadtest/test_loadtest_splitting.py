import asyncio
from dataclasses import replace

import numpy as np
import pytest
from grpc_target import ECHO, serving

from vecserve_loadtest import ClosedLoop, Load, LoadGroup, OpenLoop, Plan, Workload, merge_loads, run, split_load
from vecserve_loadtest.pacing import Window, pacer

MESSAGES = [b"a", b"bb", b"ccc", b"dddd", b"eeeee"]
CLOSED = Load("a", Workload(ECHO, MESSAGES), ClosedLoop(7), connections=3, calls=10)


def due(loads: list[Load], seconds: float) -> list[float]:
    """When calls of all loads together are due."""
    moments: list[float] = []
    for load in loads:
        paced = pacer(load.loop, Window(0, 0, seconds))
        while paced.due(seconds, 0) is not None:
            moments.append(paced.take())
    return sorted(moments)


def test_calls_in_flight_connections_and_calls_are_shared_out() -> None:
    parts = split_load(CLOSED, 3)

    assert [part.loop for part in parts] == [ClosedLoop(3), ClosedLoop(2), ClosedLoop(2)]
    assert [part.connections for part in parts] == [1, 1, 1]
    assert [part.calls for part in parts] == [4, 3, 3]
    assert [part.workload.messages[0] for part in parts] == [b"a", b"bb", b"dddd"]


def test_what_can_not_be_shared_out_is_named() -> None:
    with pytest.raises(ValueError, match="connections is 3, which 4 processes can't share: it must be at least 4"):
        split_load(CLOSED, 4)


def test_parts_of_a_constant_rate_take_turns() -> None:
    load = replace(CLOSED, loop=OpenLoop(30, "constant"), calls=None)

    assert due(split_load(load, 3), 2.0) == pytest.approx(due([load], 2.0))


def test_parts_of_a_poisson_rate_make_poisson_arrivals_of_the_whole_rate() -> None:
    load = replace(CLOSED, loop=OpenLoop(1000, "poisson", seed=5), calls=None)

    gaps = np.diff(due(split_load(load, 3), 20.0), prepend=0)

    assert len(gaps) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 1000, rel=0.03)


async def test_parts_put_together_are_one_result() -> None:
    async with serving() as target:
        load = replace(CLOSED, keep_responses="all", server_timing_every=1, calls=60)
        plans = [Plan(target.address, (part,), duration=60) for part in split_load(load, 3)]
        parts = [(await asyncio.to_thread(run, plan)).loads[0] for plan in plans]

    whole = merge_loads(parts, len(MESSAGES))

    assert whole.statuses == {"OK": 60}
    assert np.all(np.diff(whole.calls.completed) >= 0)
    assert {row: MESSAGES[index] for row, index in enumerate(whole.calls.message)} == whole.responses
    assert {row: f"infer;dur={size}" for row, size in enumerate(whole.calls.response_bytes)} == whole.server_timings
    assert whole.connections.opened == 3
    assert whole.totals.sent >= 60
    assert whole.duration == max(part.duration for part in parts)


async def test_a_groups_processes_begin_together_and_report() -> None:
    load = Load("a", Workload(ECHO, MESSAGES), OpenLoop(100, "constant"), connections=2)
    async with serving() as target:
        plans = [Plan(target.address, (part,), duration=1.2) for part in split_load(load, 2)]
        with LoadGroup(plans) as group:
            await asyncio.to_thread(group.begin)
            results = await asyncio.to_thread(group.wait)
            reports = group.reports()

    assert abs(results[0].started - results[1].started) < 0.5
    assert merge_loads([result.loads[0] for result in results], len(MESSAGES)).statuses == {"OK": 120}
    for of_process in reports:
        loads = [load for (load,) in of_process]
        assert len(loads) >= 2
        assert 0.5 <= loads[0].elapsed < loads[-1].elapsed
        assert loads[0].ok <= loads[-1].ok <= 60
        assert sum(sum(load.latencies.values()) for load in loads) == loads[-1].ended
