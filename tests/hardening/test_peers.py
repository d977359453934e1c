"""Connections that cost a server something and bring it nothing."""

import contextlib
import resource
import signal
import time
from pathlib import Path

import pytest
from running_server import RunningServer, serving

from hardening import memory
from hardening.campaign import Campaign
from hardening.messages import STREAM, TEXT, WATCH
from hardening.wire import RawConnection, prefixed
from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_wire import frames

CONNECTIONS = 2000
MIB_PER_CONNECTION = 0.1
HELLO = pb.EmbedTextRequest(texts=["hello"]).SerializeToString()
NO_WINDOW = {frames.INITIAL_WINDOW_SIZE: 0}


async def test_thousands_of_idle_connections_leave_a_server_serving(attacked: RunningServer) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CONNECTIONS + 200:
        pytest.skip(f"needs {CONNECTIONS + 200} open files, and this process may have {soft}")
    pid = attacked.process.pid
    before = memory.resident(pid)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(RawConnection(attacked.address))
        await Campaign(attacked.address).check_that_it_serves()
        assert memory.resident(pid) - before < MIB_PER_CONNECTION * CONNECTIONS


async def test_a_request_that_comes_byte_by_byte_is_answered(attacked: RunningServer) -> None:
    with RawConnection(attacked.address) as connection:
        stream = connection.request(TEXT)
        body = prefixed(HELLO)
        for index, byte in enumerate(body):
            connection.data(stream, bytes([byte]), end=index == len(body) - 1)
            time.sleep(0.002)
        assert connection.answer(stream).code == 0


async def test_streams_that_are_not_read_hold_nobody_else_up(attacked: RunningServer) -> None:
    request = pb.StreamEmbedRequest(id="1", text=pb.EmbedTextRequest(texts=["hello"] * 8)).SerializeToString()
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(RawConnection(attacked.address, settings=NO_WINDOW))
            connection.data(connection.request(STREAM), prefixed(request) * 20, end=False)
        campaign = Campaign(attacked.address)
        await campaign.messages(3, 50)
        assert campaign.tally.faults == []


async def test_calls_that_are_cancelled_by_the_hundred_leave_nothing_behind(attacked: RunningServer) -> None:
    pid, storms = attacked.process.pid, 10
    levels: list[float] = []
    for _ in range(storms):
        with RawConnection(attacked.address) as connection:
            for _ in range(200):
                stream = connection.request(TEXT)
                connection.data(stream, prefixed(HELLO))
                connection.send(frames.rst_stream(stream, 8))
        await Campaign(attacked.address).check_that_it_serves()
        levels.append(memory.resident(pid))
    assert levels[-1] <= levels[storms // 2] * 1.05


def test_a_health_watch_that_is_not_read_does_not_hold_up_the_shutdown(example_models: Path, tmp_path: Path) -> None:
    (tmp_path / "all-minilm-l6-v2").symlink_to(example_models / "all-minilm-l6-v2")
    with serving(tmp_path) as running, RawConnection(running.address, settings=NO_WINDOW) as connection:
        connection.data(connection.request(WATCH), prefixed(b""))
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0
