import asyncio
from typing import cast

import pytest
from http2_client import message
from timed_loop import Clock
from wire_server import Serve

from vecserve_wire.details import Answer
from vecserve_wire.rests import Reading, Rests


class Transport:
    """What a connection is read from."""

    def __init__(self) -> None:
        self.reads = True
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reads = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _reading(rests: Rests, clock: Clock, transport: Transport) -> Reading:
    reading = Reading(rests, cast(asyncio.AbstractEventLoop, clock))
    reading.start(cast(asyncio.Transport, transport))
    return reading


def test_a_connection_that_rests_is_read_again_after_a_moment(clock: Clock) -> None:
    transport = Transport()
    reading = _reading(Rests(0.005), clock, transport)

    reading.rest()
    clock.advance(0.004)
    assert not transport.reads
    clock.advance(0.002)

    assert transport.reads
    assert reading.delay == 0.005


def test_connections_end_their_rests_together_and_rest_anew(clock: Clock) -> None:
    rests, transports = Rests(0.005), [Transport(), Transport()]
    first, second = (_reading(rests, clock, transport) for transport in transports)

    first.rest()
    clock.advance(0.003)
    second.rest()
    second.rest()
    assert len(clock.handles) == 1
    clock.advance(0.003)
    assert [transport.reads for transport in transports] == [True, True]

    first.rest()
    assert [transport.reads for transport in transports] == [False, True]
    clock.advance(0.006)
    assert transports[0].reads


def test_a_connection_is_not_read_while_its_peer_does_not_take_what_was_sent(clock: Clock) -> None:
    transport = Transport()
    reading = _reading(Rests(0.005), clock, transport)

    reading.hold()
    reading.rest()
    clock.advance(1)
    assert not transport.reads
    reading.rest()
    reading.release()
    assert not transport.reads
    clock.advance(1)

    assert transport.reads


def test_a_connection_that_closes_meanwhile_is_left_alone(clock: Clock) -> None:
    transport = Transport()
    reading = _reading(Rests(0.005), clock, transport)

    reading.rest()
    transport.closing = True
    clock.advance(1)

    assert not transport.reads


def test_there_are_servers_without_rests(clock: Clock) -> None:
    transport = Transport()
    _reading(Rests(0), clock, transport).rest()
    assert transport.reads
    assert clock.handles == []


async def test_calls_after_a_refused_one_have_less_time_as_they_may_have_waited(serve: Serve) -> None:
    served = await serve(rest=0.05)
    client = await served.connect()

    async def timeout_of_a_call() -> float | None:
        await client.answer(client.request(body=message(b"x"), grpc_timeout="20S"))
        assert served.details
        return served.details.timeout

    assert await timeout_of_a_call() == 20
    served.answer = Answer(14, "not now")
    assert await timeout_of_a_call() == 20
    served.answer = None
    assert await timeout_of_a_call() == pytest.approx(19.95)
    assert await timeout_of_a_call() == 20


async def test_the_time_of_a_call_that_may_have_waited_for_all_of_it_is_over(serve: Serve) -> None:
    served = await serve(rest=0.05)
    client = await served.connect()
    served.answer = Answer(14, "not now")
    await client.answer(client.request(body=message(b"x")))
    served.answer = None

    answer = await client.answer(client.request("Wait", body=message(b"x"), grpc_timeout="20m"))

    assert answer.code == 4
