"""What ends a connection, and how one is ended."""

import asyncio
from collections.abc import Callable

import pytest
from http2_client import HEADERS, message
from wire_server import Serve

from vecserve_wire import frames
from vecserve_wire.frames import frame

SHORT = frames.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(frames.DATA, 0, 1, b"x"), 1, id="data of an idle stream"),
        pytest.param(frame(frames.DATA, 0, 0, b"x"), 1, id="data of no stream"),
        pytest.param(frame(frames.RST_STREAM, 0, 1, bytes(4)), 1, id="reset of an idle stream"),
        pytest.param(frame(frames.RST_STREAM, 0, 1, bytes(3)), SHORT, id="short reset"),
        pytest.param(frames.window_update(1, 1), 1, id="window of an idle stream"),
        pytest.param(frames.window_update(0, 0), 1, id="window grown by nothing"),
        pytest.param(frame(frames.WINDOW_UPDATE, 0, 0, bytes(5)), SHORT, id="long window update"),
        pytest.param(frame(frames.PUSH_PROMISE, 4, 1, bytes(8)), 1, id="push"),
        pytest.param(frame(frames.HEADERS, 5, 2, b"\x83"), 1, id="even stream"),
        pytest.param(frame(frames.HEADERS, 5, 0, b"\x83"), 1, id="headers of no stream"),
        pytest.param(frame(frames.HEADERS, 5, 1, b"\xff"), 9, id="malformed headers"),
        pytest.param(frame(frames.HEADERS, 13, 1, b"\x09\x83"), 1, id="padding longer than its frame"),
        pytest.param(frame(frames.CONTINUATION, 4, 1), 1, id="continuation of nothing"),
        pytest.param(frame(frames.PING, 0, 0, bytes(7)), SHORT, id="short ping"),
        pytest.param(frame(frames.PRIORITY, 0, 1, bytes(4)), SHORT, id="short priority"),
        pytest.param(frame(frames.PRIORITY, 0, 0, bytes(5)), 1, id="priority of no stream"),
        pytest.param(frame(frames.GOAWAY, 0, 1, bytes(8)), 1, id="goaway of a stream"),
        pytest.param(frame(frames.SETTINGS, 0, 0, bytes(5)), SHORT, id="settings of no size"),
        pytest.param(frame(frames.SETTINGS, 0, 1), 1, id="settings of a stream"),
        pytest.param(frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), SHORT, id="acknowledgement with settings"),
        pytest.param(frames.settings({frames.ENABLE_PUSH: 2}), 1, id="push neither on nor off"),
        pytest.param(frames.settings({frames.MAX_FRAME_SIZE: 100}), 1, id="small frames"),
        pytest.param(frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), 3, id="large window"),
        pytest.param(frame(frames.DATA, 0, 1, bytes(16_385)), SHORT, id="large frame"),
    ],
)
async def test_a_peer_that_breaks_http2_is_told_how_and_disconnected(serve: Serve, sent: bytes, code: int) -> None:
    client = await (await serve()).connect()
    client.send(sent)
    assert (await client.goaway())[0] == code


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", frames.PREFACE + frame(frames.PING, 0, 0, bytes(8))])
async def test_a_peer_that_does_not_greet_is_disconnected(serve: Serve, sent: bytes) -> None:
    client = await (await serve()).connect(greet=False)
    client.send(sent)
    assert (await client.goaway())[0] == frames.PROTOCOL_ERROR


async def test_a_peer_that_says_nothing_is_disconnected(serve: Serve) -> None:
    client = await (await serve(handshake=0.02)).connect(greet=False)
    await client.until(lambda: client.closed)
    assert client.closed


async def test_frames_that_come_byte_by_byte_are_read(serve: Serve) -> None:
    client = await (await serve()).connect(greet=False)
    call = frames.headers(1, client.encoder.encode(HEADERS)) + frame(frames.DATA, 1, 1, message(b"x"))
    for byte in frames.PREFACE + frames.settings({}) + call:
        client.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.answer(1)).code == 0


async def test_headers_and_data_may_be_padded_and_kinds_unknown(serve: Serve) -> None:
    client = await (await serve()).connect()
    block = client.encoder.encode(HEADERS)
    client.send(frame(0xFA, 0, 1, b"grease"))
    client.send(frame(frames.HEADERS, 0x2C, 1, b"\3" + bytes(5) + block + bytes(3)))
    client.send(frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\2" + message(b"x") + bytes(2)))
    assert (await client.answer(1)).data == message(b"x")


async def test_headers_may_come_in_several_frames_and_nothing_between_them(serve: Serve) -> None:
    client = await (await serve()).connect()
    block = client.encoder.encode([*HEADERS, ("long", "x" * 100)])
    client.send(frame(frames.HEADERS, 0, 1, block[:5]), frame(frames.CONTINUATION, 0, 1, block[5:20]))
    client.send(frame(frames.CONTINUATION, 4, 1, block[20:]), frame(frames.DATA, 1, 1, message(b"x")))
    assert (await client.answer(1)).code == 0
    client.send(frame(frames.HEADERS, 0, 3, block[:5]), frame(frames.PING, 0, 0, bytes(8)))
    assert await client.goaway() == (frames.PROTOCOL_ERROR, "a header block was not finished")


@pytest.mark.parametrize("part", [b"", bytes(1000)])
async def test_headers_that_go_on_for_ever_end_the_connection(serve: Serve, part: bytes) -> None:
    client = await (await serve()).connect()
    client.send(frame(frames.HEADERS, 0, 1, b""), *[frame(frames.CONTINUATION, 0, 1, part)] * 33)
    assert (await client.goaway())[0] == frames.ENHANCE_YOUR_CALM


async def test_pings_come_back(serve: Serve) -> None:
    client = await (await serve()).connect()
    client.send(frame(frames.PING, 0, 0, b"12345678"))
    await client.until(lambda: client.count(frames.PING) > 0)
    assert (frames.PING, frames.ACK, 0, b"12345678") in client.frames


async def test_too_many_pings_without_calls_end_the_connection(serve: Serve) -> None:
    client = await (await serve(min_ping=60)).connect()
    client.send(*[frame(frames.PING, 0, 0, bytes(8))] * 4)
    assert await client.goaway() == (frames.ENHANCE_YOUR_CALM, "too_many_pings")


def _reset(stream: int) -> bytes:
    return frames.rst_stream(stream, frames.CANCEL)


def _grow_window(stream: int) -> bytes:
    return frames.window_update(stream, frames.MAX_WINDOW)


def _send_more(stream: int) -> bytes:
    return frame(frames.DATA, 0, stream, b"late")


@pytest.mark.parametrize("fault", [_reset, _grow_window, _send_more])
async def test_calls_that_are_begun_to_be_reset_end_the_connection(serve: Serve, fault: Callable[[int], bytes]) -> None:
    served = await serve(max_resets=5, reset_time=60)
    client = await served.connect()
    for _ in range(6):
        client.send(fault(client.request("Wait", message(b""))))
    assert (await client.goaway())[0] == frames.ENHANCE_YOUR_CALM
    assert served.events.count("told") == 6


async def test_calls_beyond_the_limit_are_refused_as_never_begun(serve: Serve) -> None:
    client = await (await serve(max_streams=2)).connect()
    streams = [client.request("Wait", message(b"")) for _ in range(3)]
    assert (await client.answer(streams[2])).reset == frames.REFUSED_STREAM


async def test_connections_beyond_the_limit_are_closed_without_a_word(serve: Serve) -> None:
    served = await serve(max_connections=1)
    first = await served.connect()
    await first.settled()
    second = await served.connect()
    await second.until(lambda: second.closed)
    assert second.frames == []
    assert (await first.answer(first.request(body=message(b"x")))).code == 0


async def test_a_draining_server_answers_what_was_begun_and_then_closes(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    waiting = client.request("Wait", message(b""))
    await client.settled()
    stopping = asyncio.create_task(served.server.stop(5))
    await client.until(lambda: client.count(frames.GOAWAY) == 1)
    begun_meanwhile = client.request(body=message(b"x"))
    assert (await client.answer(begun_meanwhile)).code == 0
    client.send(frame(frames.PING, frames.ACK, 0, b"goodbye!"))
    await client.until(lambda: client.count(frames.GOAWAY) == 2)
    assert (await client.answer(client.request(body=message(b"x")))).reset == frames.REFUSED_STREAM
    served.go_on.set()
    assert (await client.answer(waiting)).code == 0
    await client.until(lambda: client.closed)
    await stopping
    last_ids = [frames.read_uint32(payload) for kind, _, _, payload in client.frames if kind == frames.GOAWAY]
    assert last_ids == [frames.MAX_WINDOW, begun_meanwhile]


async def test_the_last_stream_of_a_goaway_never_grows_again(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    first = client.request("Wait", message(b""))
    await client.settled()
    stopping = asyncio.create_task(served.server.stop(5))
    client.send(frame(frames.PING, frames.ACK, 0, b"goodbye!"))
    await client.until(lambda: client.count(frames.GOAWAY) == 2)
    await client.answer(client.request(body=message(b"x")))
    client.send(frame(frames.PUSH_PROMISE, 0, 1))
    await client.goaway()
    await stopping
    ids = [frames.read_uint32(payload) for kind, _, _, payload in client.frames if kind == frames.GOAWAY]
    assert ids == [frames.MAX_WINDOW, first, first]


async def test_a_server_that_stops_gives_up_calls_after_its_grace(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    stream = client.request("Wait", message(b""))
    await client.settled()
    stopping = asyncio.create_task(served.server.stop(0.02))
    answer = await client.answer(stream)
    assert (answer.code, answer.headers["grpc-message"]) == (14, "the server is shutting down")
    await client.until(lambda: client.closed)
    await stopping
    assert served.events == ["began", "cancelled", "cleaned", "told"]


async def test_a_connection_that_ends_leaves_no_timer_behind(serve: Serve) -> None:
    served = await serve(keepalive=60, age=60)
    client = await served.connect()
    stream = client.request("Wait", message(b""), grpc_timeout="1H")
    await client.settled()
    stopping = asyncio.create_task(served.server.stop(5))
    client.send(frame(frames.PING, frames.ACK, 0, b"goodbye!"))
    await client.until(lambda: client.count(frames.GOAWAY) == 2)
    client.leave()
    await stopping
    owners = ("Connection.", "Timers.", "Call.")
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # asyncio has no other list of them
    assert [
        handle for handle in scheduled if not handle.cancelled() and any(owner in repr(handle) for owner in owners)
    ] == []
    assert stream
