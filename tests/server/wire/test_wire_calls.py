"""What becomes of calls, and of handlers whose callers go away."""

import asyncio
import gc
import gzip

import pytest
from http2_client import headers, message
from wire_server import Serve

from vecserve_wire import frames
from vecserve_wire.call import Call
from vecserve_wire.details import Answer


async def test_a_call_is_answered(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    answer = await client.answer(client.request(body=message(b"hello")))
    assert (answer.data, answer.code, answer.reset) == (message(b"hello"), 0, None)
    assert answer.headers == {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}
    await client.settled()
    assert served.events == ["told"]


async def test_a_method_that_is_not_there_is_answered_with_headers_alone(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    stream = client.request("Missing", message(b""))
    answer = await client.answer(stream)
    assert (answer.code, answer.headers["grpc-message"]) == (12, "there is no method '/test.Service/Missing'")
    assert client.count(frames.HEADERS, stream) == 1
    assert served.events == ["told"]


async def test_a_call_may_be_answered_before_its_message_is_read(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    served.answer = Answer(14, "später", (("details-bin", b"\0\xff"),), (("x-request-id", "7"),))

    stream = client.request("Echo", message(b"hello"), grpc_timeout="3S")

    answer = await client.answer(stream)
    assert (answer.code, answer.headers["grpc-message"]) == (14, "sp%C3%A4ter")
    assert (answer.headers["x-request-id"], answer.headers["details-bin"]) == ("7", "AP8")
    assert client.count(frames.HEADERS, stream) == 1
    assert (served.events, served.requests) == (["told"], [])
    assert served.details
    assert served.details.timeout == 3.0


EARLY = frames.frame(frames.DATA, 0, 1, message(b"hel"))


@pytest.mark.parametrize(
    ("rest", "reset"),
    [
        (b"", frames.NO_ERROR),
        (EARLY, frames.NO_ERROR),
        (EARLY + frames.frame(frames.DATA, frames.END_STREAM, 1, b"lo"), None),
        (EARLY + frames.headers(1, b"", last=True), None),
    ],
)
async def test_what_is_answered_early_is_reset_unless_its_end_came_with_it(
    rest: bytes, reset: int | None, serve: Serve
) -> None:
    served = await serve()
    client = await served.connect()
    served.answer = Answer(14, "later")

    client.send(frames.headers(1, client.encoder.encode(headers())), rest)

    assert (await client.answer(1)).code == 14
    await client.settled()
    assert client.answers[1].reset == reset


WAITING = Answer(16, "no token", waits=True)


async def test_an_answer_may_wait_until_the_first_message_is_there_and_none_is_kept(serve: Serve) -> None:
    served = await serve(window=1000)
    client = await served.connect()
    served.answer = WAITING
    stream = client.request("Each", end=False)
    await client.settled()
    assert client.count(frames.HEADERS, stream) == 0

    client.send(frames.frame(frames.DATA, 0, stream, message(bytes(900))[:500]))

    answer = await client.answer(stream)
    assert (answer.code, answer.reset) == (16, frames.NO_ERROR)
    client.send(frames.frame(frames.DATA, 0, stream, bytes(400)))
    await client.settled()
    assert client.count(frames.WINDOW_UPDATE, stream) == 0
    assert served.events == ["told"]


async def test_an_answer_that_waits_comes_without_a_message_too(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    served.answer = WAITING

    assert (await client.answer(client.request("Each", end=False))).code == 16
    stream = client.request("Each", end=False)
    client.send(frames.frame(frames.DATA, frames.END_STREAM, stream))
    answer = await client.answer(stream)
    assert (answer.code, answer.reset) == (16, None)


async def test_a_server_that_ends_answers_streams_whose_answers_wait(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    served.answer = WAITING
    stream = client.request("Each", end=False)
    await client.settled()
    await served.server.stop(0)
    assert (await client.answer(stream)).code == 16


async def test_answers_that_wait_are_streams_as_others(serve: Serve) -> None:
    served = await serve(max_streams=2)
    client = await served.connect()
    served.answer = WAITING
    streams = [client.request("Each", end=False) for _ in range(3)]
    assert (await client.answer(streams[2])).reset == frames.REFUSED_STREAM


async def test_calls_that_are_answered_early_are_no_reason_to_count_pings(serve: Serve) -> None:
    served = await serve(min_ping=60)
    client = await served.connect()
    served.answer = Answer(14, "later")
    for _ in range(5):
        await client.answer(client.request("Echo", message(b"hello")))
        client.send(frames.frame(frames.PING, 0, 0, bytes(8)))
    served.answer = None
    assert (await client.answer(client.request("Echo", message(b"hello")))).code == 0


async def test_a_call_that_has_ended_leaves_nothing_to_the_garbage_collector(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    gc.collect()
    gc.disable()
    try:
        await client.answer(client.request("Keep", message(b"hello")))
        await client.settled()
        served.details = None
        assert not [each for each in gc.get_objects() if type(each) is Call]
    finally:
        gc.enable()


async def test_large_trailers_come_in_several_frames(serve: Serve) -> None:
    client = await (await serve()).connect()
    stream = client.request("Trailers", message(b""))
    answer = await client.answer(stream)
    assert (answer.code, answer.headers["grpc-message"]) == (10, "f%C3%BCr 100 %25")
    assert answer.headers["large"] == "x" * 40_000
    assert answer.headers["data-bin"] == "AP8"
    assert client.count(frames.CONTINUATION, stream) == 2


@pytest.mark.parametrize("ending", ["reset", "connection"])
async def test_a_handler_whose_caller_is_gone_is_cancelled_and_then_told_of_once(serve: Serve, ending: str) -> None:
    served = await serve()
    client = await served.connect()
    stream = client.request("Wait", message(b""))
    await client.settled()
    if ending == "reset":
        client.send(frames.rst_stream(stream, frames.CANCEL))
    else:
        client.leave()
    async with asyncio.timeout(5):
        while "told" not in served.events:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert served.events == ["began", "cancelled", "cleaned", "told"]
    assert served.context.code() is None


async def test_a_handler_that_passes_its_deadline_is_cancelled(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    answer = await client.answer(client.request("Wait", message(b""), grpc_timeout="20m"))
    assert answer.code == 4
    await client.settled()
    assert served.events == ["began", "cancelled", "cleaned", "told"]


async def test_a_call_whose_message_never_comes_ends_at_its_deadline(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    answer = await client.answer(client.request("Wait", end=False, grpc_timeout="20m"))
    assert (answer.code, served.events) == (4, ["told"])


@pytest.mark.parametrize("method", ["Echo", "Count"])
async def test_a_response_that_is_not_taken_by_its_deadline_is_given_up(serve: Serve, method: str) -> None:
    served = await serve()
    client = await served.connect({frames.INITIAL_WINDOW_SIZE: 1})
    answer = await client.answer(client.request(method, message(b"text"), grpc_timeout="20m"))
    assert (answer.code, answer.reset) == (None, frames.CANCEL)
    await client.settled()
    assert served.events.count("told") == 1


async def test_a_generator_is_closed_before_its_call_is_told_of(serve: Serve) -> None:
    served = await serve()
    client = await served.connect({frames.INITIAL_WINDOW_SIZE: 1})
    stream = client.request("Count", message(b""))
    await client.settled()
    client.send(frames.rst_stream(stream, frames.CANCEL))
    await client.settled()
    assert served.events == ["sending", "closed", "told"]


async def test_an_early_answer_tells_the_peer_to_stop_sending(serve: Serve) -> None:
    client = await (await serve()).connect()
    stream = client.request(body=b"\2\0\0\0\0", end=False)
    answer = await client.answer(stream)
    await client.settled()
    assert (answer.code, answer.reset) == (3, frames.NO_ERROR)
    client.data(stream, bytes(100), end=True)  # was on its way
    assert (await client.answer(client.request(body=message(b"x")))).code == 0


async def test_a_second_message_of_a_unary_call_is_refused_at_once(serve: Serve) -> None:
    client = await (await serve()).connect()
    answer = await client.answer(client.request(body=message(b"a") + message(b"b"), end=False))
    assert (answer.code, answer.reset) == (3, frames.NO_ERROR)
    assert answer.headers["grpc-message"] == "the call takes one message, and 2 came"


@pytest.mark.parametrize("body", [b"", message(b"whole") + b"\0", message(b"cut")[:-1]])
async def test_a_unary_call_takes_one_whole_message(serve: Serve, body: bytes) -> None:
    client = await (await serve()).connect()
    assert (await client.answer(client.request(body=body))).code == 3


async def test_compressed_messages_are_unpacked_for_handlers(serve: Serve) -> None:
    served = await serve(max_receive_bytes=1000)
    client = await served.connect()
    for text, code in ((b"a" * 1000, 0), (b"a" * 1001, 8)):
        body = message(gzip.compress(text), 1)
        assert (await client.answer(client.request(body=body, grpc_encoding="gzip"))).code == code
    assert served.requests == [b"a" * 1000]


async def test_a_message_that_is_too_large_is_refused_by_its_length(serve: Serve) -> None:
    client = await (await serve(max_receive_bytes=1000)).connect()
    answer = await client.answer(client.request(body=message(bytes(1001))[:5], end=False))
    assert (answer.code, answer.reset) == (8, frames.NO_ERROR)


async def test_trailers_of_a_request_end_it(serve: Serve) -> None:
    client = await (await serve()).connect()
    stream = client.request(body=message(b"x"), end=False)
    client.send(frames.headers(stream, client.encoder.encode([("checksum", "1")]), last=True))
    assert (await client.answer(stream)).code == 0


@pytest.mark.parametrize("kind", [frames.DATA, frames.HEADERS])
async def test_what_comes_after_the_end_of_a_request_resets_it(serve: Serve, kind: int) -> None:
    client = await (await serve()).connect()
    stream = client.request("Wait", message(b""))
    client.send(frames.frame(kind, frames.END_STREAM | frames.END_HEADERS, stream))
    assert (await client.answer(stream)).reset == frames.STREAM_CLOSED


async def test_headers_that_http2_forbids_reset_their_stream_alone(serve: Serve) -> None:
    client = await (await serve()).connect()
    waiting = client.request("Wait", message(b""), grpc_timeout="50m")
    stream = client.request_list([*headers(), ("connection", "close")])
    assert (await client.answer(stream)).reset == frames.PROTOCOL_ERROR
    assert (await client.answer(waiting)).code == 4


async def test_a_get_is_answered_with_an_http_status(serve: Serve) -> None:
    client = await (await serve()).connect()
    answer = await client.answer(client.request_list(headers(**{":method": "GET"})))
    assert answer.headers == {":status": "405"}
