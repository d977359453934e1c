"""Loads on a real grpc.aio server, one property of their results at a time."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_target import DIGEST, ECHO, FAIL, FAIL_AFTER_DATA, SLEEP, ZEROS, Target, serving
from http2_peer import Peer, scripted

from vecserve_loadtest import ClosedLoop, Load, LoadResult, OpenLoop, Plan, Status, Workload, run


@pytest.fixture
async def target() -> AsyncGenerator[Target, None]:
    async with serving() as target:
        yield target


async def put_on(target: Target, load: Load, duration: float = 0.5, **settings: float) -> LoadResult:
    """Runs one load in a thread: the event loop is the server's. `settings` are the plan's."""
    result = await asyncio.to_thread(run, Plan(target.address, (load,), duration, **settings))  # pyright: ignore[reportArgumentType] (one is a bool)
    totals = result.loads[0].totals
    assert totals.sent == totals.answered + totals.expired + totals.disconnected + totals.abandoned
    return result.loads[0]


async def test_a_closed_loop_keeps_its_concurrency_over_its_connections(target: Target) -> None:
    result = await put_on(target, Load("a", Workload(ECHO, [b"x" * 100]), ClosedLoop(16), connections=3))

    assert result.statuses.keys() == {"OK"}
    assert result.max_in_flight == 16
    assert result.totals.lost == 0
    assert result.totals.sent == len(target.messages)
    assert (result.connections.opened, result.connections.lost, result.connections.refused) == (3, 0, 0)
    assert result.throughput == pytest.approx(len(result.calls.status) / 0.5)
    assert set(result.calls.response_bytes) == {100}
    assert np.all(result.calls.latency > 0)


async def test_messages_go_in_turn_with_the_metadata(target: Target) -> None:
    messages = [b"a", b"b", b"c"]
    workload = Workload(ECHO, messages, (("x-vecserve-priority", "bulk"),), deadline=30)

    result = await put_on(target, Load("a", workload, ClosedLoop(1), keep_responses="all"))

    assert target.messages == [messages[i % 3] for i in range(len(target.messages))]
    assert all(each["x-vecserve-priority"] == "bulk" for each in target.metadata)
    assert all(each["user-agent"] == "vecserve-loadtest" for each in target.metadata)
    assert len(result.responses) == len(result.calls.status) > 3
    assert all(messages[result.calls.message[row]] == kept for row, kept in result.responses.items())


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
async def test_a_failure_counts_as_its_status_with_its_message(target: Target, status: Status) -> None:
    workload = Workload(FAIL, [str(int(status)).encode()])

    result = await put_on(target, Load("a", workload, ClosedLoop(2), calls=10), 60)

    assert result.statuses == {status.name: 10}
    assert result.failures == {status.name: f"Failure nº {int(status)}"}
    assert result.totals.lost == 0
    assert result.throughput == 0


async def test_a_status_after_data_and_a_method_that_is_not_there_are_told(target: Target) -> None:
    failing_late = Workload(FAIL_AFTER_DATA, [b"abc"])
    after_data = await put_on(target, Load("a", failing_late, ClosedLoop(2), calls=10), 60)
    missing = await put_on(target, Load("a", Workload("/no.Such/Method", [b""]), ClosedLoop(2), calls=10), 60)

    assert after_data.failures == {"DATA_LOSS": "the rest is lost"}
    assert set(after_data.calls.response_bytes) == {3}
    assert missing.statuses == {"UNIMPLEMENTED": 10}


async def test_calls_end_at_their_deadline_and_the_server_is_told(target: Target) -> None:
    result = await put_on(target, Load("a", Workload(SLEEP, [b"60"], deadline=0.1), ClosedLoop(4)))

    assert result.statuses.keys() == {"DEADLINE_EXCEEDED"}
    assert result.totals.expired + result.totals.answered == result.totals.sent >= 4
    assert result.latencies().min() >= 0.1
    async with asyncio.timeout(30):
        while not target.cancelled:
            await asyncio.sleep(0.01)


async def test_large_requests_pass_the_servers_windows(target: Target) -> None:
    messages = [bytes([fill]) * 5_000_000 for fill in range(3)]

    workload = Workload(DIGEST, messages)
    load = Load("a", workload, ClosedLoop(3), connections=2, keep_responses="all", calls=12)

    result = await put_on(target, load, 60)

    assert result.totals.lost == 0
    assert result.statuses == {"OK": 12}
    digests = [hashlib.sha256(message).digest() for message in messages]
    assert all(digests[result.calls.message[row]] == kept for row, kept in result.responses.items())


async def test_large_responses_arrive_whole(target: Target) -> None:
    load = Load("a", Workload(ZEROS, [b"5000000"]), ClosedLoop(3), keep_responses="first", calls=12)

    result = await put_on(target, load, 60)

    assert result.statuses == {"OK": 12}
    assert set(result.calls.response_bytes) == {5_000_000}
    assert list(result.responses.values()) == [bytes(5_000_000)]


async def test_server_timings_are_kept_call_by_call(target: Target) -> None:
    load = Load("a", Workload(ECHO, [b"x" * 7, b"x" * 11]), ClosedLoop(2), server_timing_every=1)

    result = await put_on(target, load)

    assert result.server_timings == {
        row: f"infer;dur={7 + 4 * index}" for row, index in enumerate(result.calls.message)
    }


async def test_of_so_many_calls_one_has_its_server_timing_kept(target: Target) -> None:
    load = Load("a", Workload(ECHO, [b"x" * 7]), ClosedLoop(2), server_timing_every=4, calls=10)

    result = await put_on(target, load, 60)

    assert result.server_timings == dict.fromkeys((0, 4, 8), "infer;dur=7")


async def test_a_closed_loop_ends_with_its_number_of_calls(target: Target) -> None:
    result = await put_on(target, Load("a", Workload(ECHO, [b""]), ClosedLoop(8), calls=100), 60)

    assert result.statuses == {"OK": 100}
    assert result.duration == pytest.approx(result.calls.completed.max())
    assert result.throughput == pytest.approx(100 / result.duration)


async def test_an_open_loop_ends_when_the_call_after_its_last_would_be_due(target: Target) -> None:
    load = Load("a", Workload(ECHO, [b""]), OpenLoop(200, "constant"), calls=50)

    result = await put_on(target, load, 60)

    assert result.statuses == {"OK": 50}
    assert result.duration == pytest.approx(0.25)
    assert result.totals.sent == 50


async def test_an_open_loop_sends_at_its_rate_whatever_the_answers_take(target: Target) -> None:
    result = await put_on(target, Load("a", Workload(SLEEP, [b"0.3"]), OpenLoop(100, "constant")), 1.0)

    assert len(result.calls.status) == 100
    assert np.diff(np.sort(result.calls.intended)) == pytest.approx(np.full(99, 0.01))
    assert result.max_in_flight >= 20
    assert result.statuses == {"OK": 100}


async def test_calls_that_fall_due_within_an_interval_are_sent_together(target: Target) -> None:
    load = Load("a", Workload(SLEEP, [b"0.6"]), OpenLoop(1000, "constant"))

    result = await put_on(target, load, send_interval=0.05)

    assert result.totals.sent == 500
    assert np.all(result.calls.sent >= result.calls.intended)
    assert np.median(np.diff(np.sort(result.calls.sent))) < 0.0005  # one after the other, though due 1 ms apart
    assert 0.01 < np.median(result.calls.sent - result.calls.intended) < 0.1  # half of the interval on average


async def test_a_stalled_server_shows_in_the_latencies_of_all_calls_due_meanwhile(target: Target) -> None:
    load = Load("a", Workload(ECHO, [b""]), OpenLoop(200, "constant"))
    running = asyncio.create_task(put_on(target, load, 1.5))
    while len(target.messages) < 40:
        await asyncio.sleep(0.01)
    target.open.clear()
    await asyncio.sleep(0.6)
    target.open.set()

    result = await running

    assert result.statuses == {"OK": 300}
    assert result.latencies().max() >= 0.55
    assert np.count_nonzero(result.latencies() > 0.1) >= 80  # those of half a second; a closed loop would show one


async def test_calls_beyond_the_bound_are_held_and_their_latency_goes_on(target: Target) -> None:
    load = Load("a", Workload(SLEEP, [b"0.1"]), OpenLoop(100, "constant", max_in_flight=2))

    result = await put_on(target, load, 0.2)

    assert len(result.calls.status) == 20
    assert result.max_in_flight == 2
    assert result.held >= 15
    assert result.late_sends >= 15
    assert result.latencies().max() >= 0.75  # the last waits until nine pairs are through


def test_a_run_ends_with_its_last_call() -> None:
    """Even if the server sends nothing after its answer, as some do to grow windows or to ask for a sign of life."""

    def answer_slowly(peer: Peer) -> None:
        peer.greet()
        while True:
            for stream_id in peer.requests(1):
                time.sleep(0.02)
                peer.answer(stream_id)

    began = time.monotonic()
    with scripted(answer_slowly) as address:
        (load,) = run(Plan(address, (Load("a", Workload(ECHO, [b"a"]), ClosedLoop(1)),), 0.3, drain=30)).loads

    assert load.totals.sent == load.totals.answered > 3
    assert time.monotonic() - began < 30


async def test_calls_not_answered_by_the_end_of_the_drain_are_told(target: Target) -> None:
    load = Load("a", Workload(SLEEP, [b"60"]), OpenLoop(100, "constant", max_in_flight=5))

    result = await put_on(target, load, 0.3, drain=0.1)

    assert (result.totals.sent, result.totals.abandoned, result.totals.unsent) == (5, 5, 25)
    assert result.endings == {"ABANDONED": 5, "UNSENT": 25}
    assert result.failures.keys() == {"CANCELLED"}


async def test_the_servers_limit_of_streams_is_kept() -> None:
    async with serving(options=[("grpc.max_concurrent_streams", 2)]) as target:
        result = await put_on(target, Load("a", Workload(ECHO, [b""]), ClosedLoop(8), connections=2))

    assert result.max_in_flight == 4
    # gRPC C-core counts a stream until it knows that its own last frame is written, which may be after the client
    # read that frame and opened the next stream: it refuses one in a thousand (REFUSED_STREAM is 7).
    assert set(result.failures.values()) <= {"the server reset the stream with HTTP/2 error code 7"}
    assert result.statuses["OK"] > 0.9 * sum(result.statuses.values())


async def test_a_message_that_the_server_does_not_take_is_a_failure_and_no_more() -> None:
    async with serving(options=[("grpc.max_receive_message_length", 1000)]) as target:
        load = Load("a", Workload(ECHO, [bytes(1_000_000), b"small"]), ClosedLoop(2), calls=10)
        result = await put_on(target, load, 60)

    assert result.statuses == {"OK": 5, "RESOURCE_EXHAUSTED": 5}
    assert result.connections.lost == 0


async def test_loads_beside_each_other_have_results_of_their_own(target: Target) -> None:
    plan = Plan(
        target.address,
        (
            Load("interactive", Workload(ECHO, [b"i"]), OpenLoop(50, "constant"), keep_responses="first"),
            Load("bulk", Workload(ECHO, [b"bulk"]), ClosedLoop(4), connections=2, keep_responses="first"),
        ),
        duration=0.5,
        warmup=0.2,
    )

    result = await asyncio.to_thread(run, plan)
    interactive, bulk = result.load("interactive"), result.load("bulk")

    assert len(interactive.calls.status) == 25
    assert interactive.totals.sent == 35
    assert list(interactive.responses.values()) == [b"i"]
    assert list(bulk.responses.values()) == [b"bulk"]
    assert bulk.totals.sent > len(bulk.calls.status) > 0
    assert result.process.calls >= len(bulk.calls.status)
    assert result.process.elapsed >= 0.4
    assert 0 < result.process.per_call < 1


def test_statuses_have_grpcs_names_and_numbers() -> None:
    assert {status.name: int(status) for status in Status} == {code.name: code.value[0] for code in grpc.StatusCode}


async def test_a_server_at_a_unix_socket_is_called(tmp_path: Path) -> None:
    async with serving(path=f"{tmp_path}/target.sock") as target:
        result = await put_on(target, Load("a", Workload(ECHO, [b"x"]), ClosedLoop(4), connections=2), 0.2)

    assert result.statuses.keys() == {"OK"}
    assert result.connections.opened == 2
