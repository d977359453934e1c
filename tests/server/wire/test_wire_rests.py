import asyncio
from typing import cast

import pytest
from http2_client import Client, message
from timed_loop import Clock
from wire_server import Serve, Served

from vecserve_wire import frames
from vecserve_wire.details import Answer
from vecserve_wire.rests import Reading, Rests


class Transport:
    """What a connection is read from."""

    def __init__(self, *, tls: bool = False) -> None:
        self.reads = True
        self.closing = False
        self.tls = tls

    def get_extra_info(self, name: str) -> object:
        return object() if self.tls and name == "sslcontext" else None

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reads = True


@pytest.fixture
def transport() -> Transport:
    return Transport()


def _reading(rests: Rests, clock: Clock, transport: Transport) -> Reading:
    reading = Reading(rests, cast(asyncio.AbstractEventLoop, clock))
    reading.start(cast(asyncio.Transport, transport))
    return reading


@pytest.fixture
def reading(clock: Clock, transport: Transport) -> Reading:
    return _reading(Rests(0.005), clock, transport)


def _rest(reading: Reading, timeout: float | None = None) -> None:
    """Has a connection rest: two calls are refused at once."""
    reading.refused(timeout)
    reading.refused(timeout)


def _delay(reading: Reading) -> float:
    """For how long what is read now may have waited."""
    reading.begin()
    return reading.delay


def test_a_connection_rests_for_a_moment_when_calls_are_refused_one_after_another(
    reading: Reading, clock: Clock, transport: Transport
) -> None:
    reading.refused(None)
    assert transport.reads
    clock.advance(0.001)
    reading.refused(None)
    assert not transport.reads
    clock.advance(0.004)
    assert not transport.reads
    clock.advance(0.002)
    assert transport.reads


def test_a_refused_call_now_and_then_makes_no_connection_rest(
    reading: Reading, clock: Clock, transport: Transport
) -> None:
    for _ in range(5):
        reading.refused(None)
        clock.advance(0.003)
        assert transport.reads
    assert clock.handles == []


@pytest.mark.parametrize(("patience", "rest"), [(0.025, 0.002), (0.05, 0.004), (0.0625, 0.005), (10, 0.005)])
def test_a_rest_takes_little_of_the_time_that_the_callers_have(
    patience: float, rest: float, reading: Reading, clock: Clock, transport: Transport
) -> None:
    _rest(reading, patience)
    clock.advance(0.9 * rest)
    assert not transport.reads
    clock.advance(0.2 * rest)
    assert transport.reads


@pytest.mark.parametrize(("least", "rest"), [(0.025, 0.002), (0, 0.0008)])
def test_the_caller_who_has_least_time_counts_for_a_while(
    least: float, rest: float, reading: Reading, clock: Clock, transport: Transport
) -> None:
    reading.refused(least)
    clock.advance(1)
    _rest(reading, 10)
    clock.advance(0.9 * rest)
    assert not transport.reads
    clock.advance(0.2 * rest)
    assert transport.reads

    for _ in range(300):
        reading.refused(10)
        clock.advance(1)
    _rest(reading, 10)
    clock.advance(0.004)
    assert not transport.reads


def test_a_rest_ends_with_one_that_ends_earlier(clock: Clock) -> None:
    rests, transports = Rests(0.005), [Transport(), Transport()]
    patient, impatient = (_reading(rests, clock, transport) for transport in transports)

    _rest(patient, 10)
    _rest(impatient, 0.0125)
    clock.advance(0.0011)

    assert [transport.reads for transport in transports] == [True, True]
    assert all(handle.cancelled for handle in clock.handles)


def test_connections_end_their_rests_together_and_rest_anew(clock: Clock) -> None:
    rests, transports = Rests(0.005), [Transport(), Transport()]
    first, second = (_reading(rests, clock, transport) for transport in transports)

    _rest(first)
    clock.advance(0.003)
    _rest(second)
    _rest(second)
    assert len(clock.handles) == 1
    clock.advance(0.003)
    assert [transport.reads for transport in transports] == [True, True]

    _rest(first)
    assert [transport.reads for transport in transports] == [False, True]
    clock.advance(0.006)
    assert transports[0].reads


def test_what_is_read_after_a_rest_may_have_waited_since_it_began(reading: Reading, clock: Clock) -> None:
    _rest(reading)
    assert _delay(reading) == 0
    clock.advance(0.006)

    assert _delay(reading) == pytest.approx(0.006)
    clock.advance(0)
    assert _delay(reading) == 0


def test_what_comes_long_after_a_rest_has_not_waited(reading: Reading, clock: Clock) -> None:
    _rest(reading)
    clock.advance(0.005)
    clock.advance(0.003)

    assert _delay(reading) == 0


def test_a_connection_is_not_read_while_its_peer_does_not_take_what_was_sent(
    reading: Reading, clock: Clock, transport: Transport
) -> None:
    reading.hold()
    _rest(reading)
    clock.advance(1)
    assert not transport.reads
    _rest(reading)
    reading.release()
    assert not transport.reads
    clock.advance(1)

    assert transport.reads


def test_a_connection_that_closes_meanwhile_is_left_alone(reading: Reading, clock: Clock, transport: Transport) -> None:
    _rest(reading)
    transport.closing = True
    clock.advance(1)

    assert not transport.reads


@pytest.mark.parametrize(("seconds", "tls"), [(0, False), (0.005, True)])
def test_there_are_servers_without_rests_and_none_with_tls(seconds: float, tls: bool, clock: Clock) -> None:
    transport = Transport(tls=tls)
    _rest(_reading(Rests(seconds), clock, transport))
    assert transport.reads
    assert clock.handles == []


async def _flood(served: Served, client: Client) -> None:
    """Has the client's connection rest, by calls that are answered without a handler."""
    served.answer = Answer(14, "not now")
    streams = [client.request(body=message(b"x")) for _ in range(3)]
    for stream in streams:
        assert (await client.answer(stream)).code == 14
    served.answer = None


async def test_calls_that_come_in_a_rest_have_so_much_less_time(serve: Serve) -> None:
    served = await serve(rest=0.1)
    client = await served.connect()

    async def timeout_of_a_call() -> float:
        await client.answer(client.request(body=message(b"x"), grpc_timeout="20S"))
        assert served.details
        assert served.details.timeout
        return served.details.timeout

    assert await timeout_of_a_call() == 20
    await _flood(served, client)
    assert 19.5 < await timeout_of_a_call() < 19.95
    assert await timeout_of_a_call() == 20


async def test_the_time_of_a_call_that_may_have_waited_for_all_of_it_is_over(serve: Serve) -> None:
    served = await serve(rest=0.1)
    client = await served.connect()
    await _flood(served, client)

    answer = await client.answer(client.request("Wait", body=message(b"x"), grpc_timeout="50m"))

    assert answer.code == 4


async def test_a_connection_may_end_while_it_rests(serve: Serve) -> None:
    served = await serve(rest=0.05)
    gone, staying = await served.connect(), await served.connect()
    await _flood(served, gone)
    await _flood(served, staying)

    gone.leave()

    assert (await staying.answer(staying.request(body=message(b"x")))).code == 0


async def test_a_server_may_end_while_connections_rest(serve: Serve) -> None:
    served = await serve(rest=0.05)
    client = await served.connect()
    await _flood(served, client)

    ending = asyncio.create_task(served.server.stop(1))
    await client.until(lambda: client.count(frames.PING) > 0)
    client.send(frames.frame(frames.PING, frames.ACK, 0, b"goodbye!"))
    await ending

    assert await client.goaway() == (frames.NO_ERROR, "")
