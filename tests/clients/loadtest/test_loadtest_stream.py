"""Calls over streams: on a real grpc.aio server, and against scripted bytes for what none does on demand."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from grpc_target import ECHO, STREAM, Target, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from vecserve.v1 import embedding_service_pb2 as pb
from vecserve_loadtest import ClosedLoop, Load, LoadResult, Plan, Workload, run
from vecserve_loadtest.calls import Call
from vecserve_loadtest.headers import request_headers
from vecserve_loadtest.outbox import Body
from vecserve_loadtest.outcome import describe, message_of, status_of
from vecserve_loadtest.status import Status
from vecserve_loadtest.stream import StreamConnection
from vecserve_loadtest.wire import fields
from vecserve_wire import frames
from vecserve_wire.frames import FrameReader


def request(text: str) -> bytes:
    """A request without its id, as workloads hold it."""
    return pb.StreamEmbedRequest(text=pb.EmbedTextRequest(texts=[text])).SerializeToString()


def streamed(*texts: str) -> Workload:
    return Workload(STREAM, [request(text) for text in texts], streamed=True)


@pytest.fixture
async def target() -> AsyncGenerator[Target, None]:
    async with serving() as target:
        yield target


async def put_on(target: Target, load: Load, duration: float = 0.5) -> LoadResult:
    result = await asyncio.to_thread(run, Plan(target.address, (load,), duration, drain=1))
    return result.loads[0]


async def test_answers_in_another_order_find_their_calls(target: Target) -> None:
    load = Load("a", streamed("one", "three", "eleven"), ClosedLoop(4), connections=2, keep_responses="all", calls=200)

    result = await put_on(target, load, 60)

    assert result.statuses == {"OK": 200}
    answers = [pb.StreamEmbedResponse.FromString(kept) for kept in result.responses.values()]
    sent = [("one", "three", "eleven")[index] for index in result.calls.message]
    assert [answer.text.embeddings[0].values.decode() for answer in answers] == sent


async def test_a_failed_message_has_its_own_status_and_leaves_the_stream_open(target: Target) -> None:
    result = await put_on(target, Load("a", streamed("fail", "fine"), ClosedLoop(2), calls=100), 60)

    assert result.statuses == {"OK": 50, "NOT_FOUND": 50}
    assert result.failures["NOT_FOUND"] == "no model nº 1"
    assert result.connections.opened == 1


async def test_when_a_stream_ends_its_calls_fail_as_it_did(target: Target) -> None:
    result = await put_on(target, Load("a", streamed("lonely", "end"), ClosedLoop(2), calls=10), 60)

    assert result.statuses == {"ABORTED": 10}
    assert result.failures["ABORTED"] == "the stream is over"
    assert result.connections.opened == 1


async def test_after_a_stream_has_ended_the_next_call_begins_another(target: Target) -> None:
    result = await put_on(target, Load("a", streamed("end", "now"), ClosedLoop(1), calls=10), 60)

    assert result.statuses == {"OK": 5, "ABORTED": 5}
    assert result.connections.opened == 1


async def test_a_method_that_is_no_stream_fails_every_call(target: Target) -> None:
    result = await put_on(target, Load("a", Workload("/no.Such/Method", [b""], streamed=True), ClosedLoop(2)), 0.1)

    assert result.statuses.keys() == {"UNIMPLEMENTED"}


def test_a_deadline_for_messages_of_a_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline must be left out with streamed"):
        Workload(ECHO, [b""], deadline=1, streamed=True)


def connected(window: int = 2**20) -> StreamConnection:
    connection = StreamConnection(request_headers("127.0.0.1:50051", "/a.B/C"))
    connection.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: window}))
    connection.take()
    return connection


def sent(connection: StreamConnection, message: bytes = b"") -> Call:
    call = Call(Body(message), 0, 0.0)
    call.parts = []
    connection.send(call)
    return call


def answer(call: Call, **result: object) -> bytes:
    message = pb.StreamEmbedResponse(id=f"{call.stream_id:08x}", **result).SerializeToString()  # pyright: ignore[reportArgumentType] - by name
    return b"\0" + len(message).to_bytes(4, "big") + message


@given(st.lists(st.integers(0, 300), max_size=20))
@settings(deadline=None)
def test_answers_end_their_calls_wherever_the_stream_is_cut(places: list[int]) -> None:
    connection = connected()
    calls = [sent(connection) for _ in range(3)]
    texts = [pb.EmbedTextResponse(embeddings=[pb.Embedding(values=bytes([n]) * 50 * n)]) for n in range(3)]
    data = b"".join(answer(call, text=text) for call, text in zip(calls[::-1], texts, strict=True))
    ends = sorted(place % len(data) for place in places)

    ended: list[Call] = []
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        ended += connection.receive(frames.frame(frames.DATA, 0, 1, data[start:end]))

    assert ended == calls[::-1]
    assert [pb.StreamEmbedResponse.FromString(message_of(call)).text for call in ended] == texts
    assert all(status_of(call) is Status.OK for call in ended)
    assert connection.in_flight == 0


def test_requests_go_as_one_stream_within_its_window_and_the_frame_size() -> None:
    connection = connected(window=100)
    calls = [sent(connection, bytes([65 + n]) * 60) for n in range(4)]
    taken = connection.take()
    assert connection.uploading

    connection.receive(frames.window_update(1, 1000))
    received = [each for each in FrameReader().feed(taken + connection.take()) if each[0] == frames.DATA]

    assert len(received[0][3]) + len(received[1][3]) == 100
    assert {stream_id for _, _, stream_id, _ in received} == {1}
    assert not any(flags & frames.END_STREAM for _, flags, _, _ in received)
    assert not connection.uploading
    body = b"".join(payload for _, _, _, payload in received)
    assert body == b"".join(
        b"\0\0\0\0\x46\x0a\x08" + b"%08x" % call.stream_id + bytes([65 + n]) * 60 for n, call in enumerate(calls)
    )


def test_an_answer_to_a_cancelled_call_and_one_that_makes_no_sense_are_ignored() -> None:
    connection = connected()
    cancelled, other = sent(connection), sent(connection)
    connection.cancel(cancelled)

    data = answer(cancelled) + b"\0\0\0\0\x02\x0a\x09" + b"\0\0\0\0\x03\x0a\x01x" + answer(other)

    assert connection.receive(frames.frame(frames.DATA, 0, 1, data)) == [other]


def test_a_stream_that_ends_well_with_calls_unanswered_fails_them() -> None:
    connection = connected()
    call = sent(connection)
    end = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, b"\x40\x0bgrpc-status\x010")

    assert connection.receive(end) == [call]
    assert status_of(call) is Status.INTERNAL
    assert "not one message" in describe(call)


def test_a_stream_is_given_its_window_back_before_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecserve_loadtest.stream._REPLENISH", 5000)
    connection = connected()
    sent(connection)
    connection.take()
    for _ in range(3):
        connection.receive(frames.frame(frames.DATA, 0, 1, bytes(2000)))

    assert read_windows(connection.take()) == [(1, 6000)]


def read_windows(data: bytes) -> list[tuple[int, int]]:
    updates = [each for each in FrameReader().feed(data) if each[0] == frames.WINDOW_UPDATE]
    return [(stream_id, frames.read_uint32(payload)) for _, _, stream_id, payload in updates]


def test_fields_of_every_kind_are_read() -> None:
    message = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1a\x02hi" + b"\x25" + bytes(4) + b"\x82\x01\x00"

    assert list(fields(message)) == [(1, 150), (2, bytes(8)), (3, b"hi"), (4, bytes(4)), (16, b"")]


@pytest.mark.parametrize("message", [b"\x0a\x05ab", b"\x08\x80", b"\x0b", b"\x11\x00"])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        list(fields(message))
