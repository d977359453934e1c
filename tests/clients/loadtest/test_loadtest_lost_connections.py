"""What becomes of calls and connections when a server goes away, refuses, or isn't one."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from grpc_target import ECHO, serving
from http2_peer import Peer, scripted

from vecserve_loadtest import ClosedLoop, Ending, Load, LoadError, OpenLoop, Plan, Status, Workload, run
from vecserve_wire import frames

TARGET = Path(__file__).with_name("grpc_target.py")
WORKLOAD = Workload(ECHO, [b"x"])
CLOSED = Load("closed", WORKLOAD, ClosedLoop(8), connections=2)


@contextlib.contextmanager
def waiting_server() -> Generator[subprocess.Popen[str], None, None]:
    """A process that serves when it is told its port, and says where."""
    command = [sys.executable, str(TARGET)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def serve(process: subprocess.Popen[str], port: int = 0) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{port}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def replace_server(first: subprocess.Popen[str], second: subprocess.Popen[str], address: str) -> None:
    time.sleep(0.5)
    first.kill()
    first.wait()
    time.sleep(0.5)
    assert serve(second, int(address.rpartition(":")[2])) == address


def test_a_server_that_is_killed_and_comes_back_costs_the_calls_under_way_and_no_others() -> None:
    """A closed loop waits for its return; an open loop's calls are unavailable meanwhile."""
    opened = Load("open", WORKLOAD, OpenLoop(100, "constant"))
    with waiting_server() as first, waiting_server() as second:
        address = serve(first)
        replacing = threading.Thread(target=replace_server, args=(first, second, address))
        replacing.start()
        result = run(Plan(address, (CLOSED, opened), duration=3.0))
        replacing.join()

    for load in result.loads:
        totals = load.totals
        assert totals.sent == totals.answered + totals.lost
        assert totals.lost == totals.disconnected
        assert load.statuses.keys() == {"OK", "UNAVAILABLE"}
        assert load.connections.lost >= 1
        assert load.connections.refused >= 1
        assert load.calls.status[np.argmax(load.calls.completed)] == Status.OK
    closed, open_ = result.loads
    assert 1 <= closed.totals.disconnected <= 16  # all eight, and again on the connection that died second
    assert closed.totals.unsent == 0
    assert open_.totals.unsent > 0
    assert len(open_.calls.status) == 300
    assert set(open_.calls.status[open_.calls.ending == Ending.UNSENT]) == {Status.UNAVAILABLE}


async def test_connections_that_the_server_ages_out_are_replaced_without_losing_a_call() -> None:
    options = [("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 10_000)]
    async with serving(options=options) as target:
        result = await asyncio.to_thread(run, Plan(target.address, (CLOSED,), duration=1.5))

    load = result.loads[0]
    assert load.statuses.keys() == {"OK"}
    assert load.totals.lost == 0
    assert load.connections.opened >= 4
    assert load.connections.lost == 0


def run_on(address: str, loop: ClosedLoop | OpenLoop, duration: float = 0.3) -> Plan:
    return Plan(address, (Load("load", WORKLOAD, loop),), duration=duration, drain=5, connect_timeout=5)


def refuse_once(peer: Peer) -> None:
    peer.greet()
    first, second = peer.requests(2)
    peer.send(frames.rst_stream(first, 7))
    peer.answer(second)
    peer.answer_all()


def test_a_call_that_the_server_refused_to_begin_with_is_sent_again() -> None:
    with scripted(refuse_once) as address:
        load = run(run_on(address, ClosedLoop(2))).loads[0]

    assert load.statuses.keys() == {"OK"}
    assert load.totals.resent == 1
    assert load.totals.sent == load.totals.answered


def refuse_always(peer: Peer) -> None:
    peer.greet()
    while True:
        peer.send(frames.rst_stream(peer.requests(1)[0], 7))


def test_a_call_that_is_refused_twice_is_unavailable() -> None:
    with scripted(refuse_always) as address:
        load = run(run_on(address, ClosedLoop(1), 0.1)).loads[0]

    assert load.statuses.keys() == {"UNAVAILABLE"}
    assert load.totals.resent == load.totals.sent == load.totals.answered


def go_away_with_the_second(peer: Peer) -> None:
    peer.greet()
    first, _ = peer.requests(2)
    peer.send(frames.frame(frames.GOAWAY, 0, 0, first.to_bytes(4, "big") + bytes(4)))
    peer.answer(first)


def greet_and_answer(peer: Peer) -> None:
    peer.greet()
    peer.answer_all()


def test_calls_that_a_leaving_server_had_not_begun_with_go_over_the_next_connection() -> None:
    with scripted(go_away_with_the_second, greet_and_answer) as address:
        load = run(run_on(address, ClosedLoop(2))).loads[0]

    assert load.statuses.keys() == {"OK"}
    assert load.totals.resent == 1
    assert (load.connections.opened, load.connections.lost) == (2, 0)


def break_the_protocol(peer: Peer) -> None:
    peer.greet()
    peer.requests(1)
    peer.send(frames.frame(frames.DATA, 0, 1, bytes(2**17)))
    peer.requests(1000)


def test_a_server_that_breaks_the_protocol_loses_its_connection() -> None:
    with scripted(break_the_protocol, greet_and_answer) as address:
        load = run(run_on(address, ClosedLoop(1))).loads[0]

    assert load.totals.disconnected == 1
    assert load.connections.lost == 1
    assert "131072 bytes, where at most 65536" in load.connections.error
    assert load.statuses.keys() == {"UNAVAILABLE", "OK"}


def never_greet(peer: Peer) -> None:
    peer.requests(1)


def speak_http1(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_what_does_not_answer_as_a_server_should_is_named_at_the_start() -> None:
    def plan(address: str) -> Plan:
        return Plan(address, (CLOSED,), duration=1, connect_timeout=0.3)

    with scripted(never_greet) as address, pytest.raises(LoadError, match=r"answers at .* within 0\.3 s: no HTTP/2 gr"):
        run(plan(address))
    with scripted(speak_http1) as address, pytest.raises(LoadError, match="a frame of"):
        run(plan(address))
    with pytest.raises(LoadError, match="refused"):
        run(plan("127.0.0.1:1"))
    with pytest.raises(LoadError, match="can't be resolved"):
        run(plan("no-such-host.invalid:1"))


def test_calls_are_sent_as_soon_as_one_of_a_hosts_addresses_answers() -> None:
    """`localhost` may be ::1 first, where nothing listens."""
    with scripted(greet_and_answer) as address:
        load = run(run_on(f"localhost:{address.rpartition(':')[2]}", ClosedLoop(1))).loads[0]

    assert load.statuses.keys() == {"OK"}
