"""Flow control, both ways."""

import asyncio

import pytest
from http2_client import message
from wire_server import Serve

from vecserve_wire import frames
from vecserve_wire.frames import ProtocolError, ReceiveWindow

WINDOW = {frames.INITIAL_WINDOW_SIZE: 10}
MEGABYTE = 2**20


async def test_a_response_waits_for_its_streams_window(serve: Serve) -> None:
    client = await (await serve()).connect(WINDOW)
    stream = client.request(body=message(b"x" * 20))
    await client.settled()
    assert client.body(stream) == message(b"x" * 20)[:10]
    client.send(frames.window_update(stream, 8))
    await client.settled()
    assert len(client.body(stream)) == 18
    client.send(frames.window_update(stream, 100))
    answer = await client.answer(stream)
    assert (answer.data, answer.code) == (message(b"x" * 20), 0)


async def test_a_response_waits_for_the_connections_window(serve: Serve) -> None:
    served = await serve()
    client = await served.connect({frames.INITIAL_WINDOW_SIZE: 2**20})
    served.reply = bytes(100_000)
    stream = client.request("Reply", message(b""))
    await client.until(lambda: len(client.body(stream)) == frames.DEFAULT_WINDOW)
    await client.settled()
    assert len(client.body(stream)) == frames.DEFAULT_WINDOW
    client.send(frames.window_update(0, 100_000))
    assert (await client.answer(stream)).data == message(served.reply)


async def test_a_call_that_waits_for_its_own_window_holds_up_no_other(serve: Serve) -> None:
    client = await (await serve()).connect(WINDOW)
    stalled = client.request(body=message(b"x" * 20))
    await client.settled()
    others = [client.request(body=message(b"short")) for _ in range(3)]
    for stream in others:
        assert (await client.answer(stream)).code == 0
    assert not client.answers[stalled].ended


async def test_calls_that_wait_for_the_connections_window_each_get_their_turn(serve: Serve) -> None:
    served = await serve()
    client = await served.connect({frames.INITIAL_WINDOW_SIZE: 2**20})
    served.reply = bytes(100_000)
    streams = [client.request("Reply", message(b"")) for _ in range(3)]
    await client.settled()
    for _ in range(3):
        client.send(frames.window_update(0, 1000))
        await client.settled()
    assert all(len(client.body(stream)) >= 1000 for stream in streams)
    client.send(frames.window_update(0, 300_000))
    for stream in streams:
        assert (await client.answer(stream)).data == message(served.reply)


async def test_settings_that_grow_windows_let_waiting_responses_go_on(serve: Serve) -> None:
    client = await (await serve()).connect(WINDOW)
    stream = client.request(body=message(b"x" * 20))
    await client.settled()
    client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 25}))
    assert (await client.answer(stream)).code == 0


async def test_settings_that_shrink_windows_are_owed_before_anything_is_sent(serve: Serve) -> None:
    client = await (await serve()).connect(WINDOW)
    stream = client.request(body=message(b"x" * 20))
    await client.settled()
    client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.window_update(stream, 10))
    await client.settled()
    assert len(client.body(stream)) == 10
    client.send(frames.window_update(stream, 15))
    assert (await client.answer(stream)).code == 0


async def test_messages_are_cut_to_the_peers_frame_size(serve: Serve) -> None:
    served = await serve()
    client = await served.connect({frames.MAX_FRAME_SIZE: 20_000})
    served.reply = bytes(50_000)
    stream = client.request("Reply", message(b""))
    await client.answer(stream)
    sizes = [len(payload) for kind, _, _, payload in client.frames if kind == frames.DATA]
    assert sizes == [20_000, 20_000, 10_005]


async def test_the_peer_is_given_more_window_as_its_message_comes(serve: Serve) -> None:
    served = await serve(window=1000)
    client = await served.connect()
    stream = client.request(body=message(bytes(3000))[:600], end=False)
    await client.settled()
    assert client.count(frames.WINDOW_UPDATE, stream) == 1
    for start in range(600, 3005, 600):
        client.data(stream, message(bytes(3000))[start : start + 600], end=start + 600 >= 3005)
    assert (await client.answer(stream)).code == 0
    assert served.requests == [bytes(3000)]


async def test_a_handler_that_does_not_read_has_the_peer_wait(serve: Serve) -> None:
    served = await serve(window=1000)
    client = await served.connect()
    stream = client.request("Each", message(b"x" * 95) * 10, end=False)
    await client.settled()
    assert not client.count(frames.WINDOW_UPDATE, stream) or served.go_on.is_set()
    served.go_on.set()
    await client.until(lambda: client.count(frames.WINDOW_UPDATE, stream) > 0)
    await client.settled()
    assert len(served.requests) == 10


async def test_empty_messages_fill_the_window_too(serve: Serve) -> None:
    served = await serve(window=1000)
    client = await served.connect()
    stream = client.request("Each", message(b"") * 200, end=False)
    await client.settled()
    for _ in range(3):
        client.data(stream, message(b"") * 100)
        await client.settled()
    assert (await client.answer(stream)).reset == frames.FLOW_CONTROL_ERROR


async def test_a_stream_that_sends_beyond_its_window_is_reset(serve: Serve) -> None:
    served = await serve(window=100)
    client = await served.connect()
    stream = client.request("Each", bytes(101), end=False)
    assert (await client.answer(stream)).reset == frames.FLOW_CONTROL_ERROR
    assert (await client.answer(client.request(body=message(b"other")))).code == 0


async def test_more_than_the_connections_window_ends_it(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    client.send(frames.window_update(0, frames.MAX_WINDOW))
    assert (await client.goaway())[0] == frames.FLOW_CONTROL_ERROR


async def test_a_streams_window_beyond_the_largest_resets_it(serve: Serve) -> None:
    client = await (await serve()).connect()
    stream = client.request("Wait", message(b""))
    client.send(frames.window_update(stream, frames.MAX_WINDOW))
    assert (await client.answer(stream)).reset == frames.FLOW_CONTROL_ERROR


async def test_a_reader_that_is_slow_has_its_handler_wait(serve: Serve) -> None:
    served = await serve()
    client = await served.connect({frames.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW})
    client.send(frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))
    served.reply = bytes(MEGABYTE)
    stream = client.request("Count", message(b""))
    sent = -1
    while served.events.count("sending") != sent:  # until the sockets' buffers are full
        sent = served.events.count("sending")
        await asyncio.sleep(0.05)
    assert sent < 50
    await client.until(lambda: served.events.count("sending") > sent + 5)
    assert not client.answers[stream].ended


async def test_blocks_use_no_table_for_a_peer_that_has_none(serve: Serve) -> None:
    client = await (await serve()).connect({frames.HEADER_TABLE_SIZE: 0})
    client.use_no_table()
    assert (await client.answer(client.request(body=message(b"x")))).code == 0
    assert (await client.answer(client.request("Missing", message(b"x")))).code == 12


def test_a_peer_may_send_more_once_half_of_the_connections_window_is_used() -> None:
    window = ReceiveWindow(100)
    assert [window.take(size) for size in (0, 49, 1, 50, 100)] == [0, 0, 50, 50, 100]


def test_a_peer_that_sends_more_than_the_connections_window_breaks_http2() -> None:
    window = ReceiveWindow(100)
    window.take(40)
    with pytest.raises(ProtocolError) as caught:
        window.take(61)
    assert caught.value.code == frames.FLOW_CONTROL_ERROR
