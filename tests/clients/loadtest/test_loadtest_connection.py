import pytest
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from vecserve_loadtest.connection import Connection, Exchange
from vecserve_loadtest.headers import request_headers
from vecserve_loadtest.outbox import Body
from vecserve_wire import frames
from vecserve_wire.frames import Frame, FrameReader

HEADERS = request_headers("127.0.0.1:50051", "/a.B/C")
WHOLE = frames.END_HEADERS | frames.END_STREAM
INITIAL = b"\x88\x5f\x10application/grpc"
TRAILERS = b"\x40\x0bgrpc-status\x010"


def connected(settings: dict[int, int] | None = None, first_stream_id: int = 1) -> Connection[Exchange]:
    connection = Connection[Exchange](HEADERS, first_stream_id)
    connection.receive(frames.settings(settings or {}))
    connection.take()
    return connection


def sent(connection: Connection[Exchange], message: bytes = b"", *, keep: bool = False) -> Exchange:
    exchange = Exchange(Body(message))
    exchange.parts = [] if keep else None
    connection.send(exchange)
    return exchange


def read(data: bytes) -> list[Frame]:
    return list(FrameReader(2**24).feed(data))


def answer(stream_id: int, body: bytes = bytes(5)) -> bytes:
    return b"".join(
        (
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, INITIAL),
            frames.frame(frames.DATA, 0, stream_id, body),
            frames.frame(frames.HEADERS, WHOLE, stream_id, TRAILERS),
        )
    )


def test_the_greeting_asks_for_a_table_of_size_0_and_all_the_window_there_is() -> None:
    greeting = Connection[Exchange](HEADERS).take()

    assert greeting.startswith(frames.PREFACE)
    settings, window = read(greeting[len(frames.PREFACE) :])
    assert frames.read_settings(settings[3]) == {
        frames.HEADER_TABLE_SIZE: 0,
        frames.ENABLE_PUSH: 0,
        frames.INITIAL_WINDOW_SIZE: 2**31 - 1,
        frames.MAX_FRAME_SIZE: 2**16,
    }
    assert frames.DEFAULT_WINDOW + frames.read_uint32(window[3]) == 2**31 - 1


def test_calls_wait_for_the_servers_settings() -> None:
    connection = Connection[Exchange](HEADERS)
    assert not connection.accepting

    connection.receive(frames.settings({}))
    assert connection.accepting


def test_settings_and_pings_are_acknowledged_and_acknowledgements_are_not() -> None:
    connection = connected()
    connection.receive(
        frames.settings({frames.MAX_FRAME_SIZE: 20_000})
        + frames.frame(frames.PING, 0, 0, b"12345678")
        + frames.frame(frames.PING, frames.ACK, 0, b"87654321")
        + frames.frame(frames.SETTINGS, frames.ACK, 0)
    )

    assert read(connection.take()) == [
        (frames.SETTINGS, frames.ACK, 0, b""),
        (frames.PING, frames.ACK, 0, b"12345678"),
    ]


def responses(streams: int) -> list[bytes]:
    """Frames of several responses in turn, in forms that a server may choose."""
    padded = [DataFrame(2 * i + 1, bytes([i]) * (i + 1), pad_length=i, flags=["PADDED"]) for i in range(streams)]
    heads = [HeadersFrame(2 * i + 1, INITIAL, flags=["END_HEADERS", "PRIORITY"], depends_on=0) for i in range(streams)]
    return [
        *(head.serialize() for head in heads),
        *(data.serialize() for data in padded),
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
        frames.frame(99, 0, 0, b"of a later version"),
        *(frames.frame(frames.DATA, 0, 2 * i + 1, b"more") for i in range(streams)),
        *(
            frames.frame(frames.HEADERS, frames.END_STREAM, 2 * i + 1, TRAILERS[:4])
            + frames.frame(frames.CONTINUATION, 0, 2 * i + 1, TRAILERS[4:9])
            + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 2 * i + 1, TRAILERS[9:])
            for i in reversed(range(streams))
        ),
    ]


@given(st.lists(st.integers(0, 2000), max_size=30))
@settings(deadline=None)
def test_exchanges_end_in_the_same_way_wherever_the_stream_is_cut(places: list[int]) -> None:
    connection = connected()
    exchanges = [sent(connection, keep=True) for _ in range(3)]
    data = b"".join(responses(3))
    ends = sorted(place % (len(data) + 1) for place in places)

    ended: list[Exchange] = []
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        ended += connection.receive(data[start:end])

    assert ended == exchanges[::-1]
    assert [b"".join(each.parts or []) for each in exchanges] == [b"\0more", b"\1\1more", b"\2\2\2more"]
    assert [each.received for each in exchanges] == [5, 6, 7]
    assert all(each.trailers == TRAILERS for each in exchanges)
    assert connection.in_flight == 0


def test_a_head_is_kept_only_where_it_is_out_of_the_ordinary() -> None:
    connection = connected()
    plain, odd = sent(connection), sent(connection)
    block = Encoder().encode([(":status", "404")])
    connection.receive(answer(plain.stream_id))
    connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, odd.stream_id, block))

    assert plain.head == b""
    assert odd.head == block


def test_requests_go_over_odd_streams_with_short_headers_from_the_second_on() -> None:
    connection = connected()
    for _ in range(3):
        sent(connection)
    headers = [each for each in read(connection.take()) if each[0] == frames.HEADERS]

    assert [stream_id for _, _, stream_id, _ in headers] == [1, 3, 5]
    first, second, third = (len(payload) for _, _, _, payload in headers)
    assert first > 50
    assert second == third == len(HEADERS)


def test_no_more_calls_are_taken_than_the_server_allows_at_once() -> None:
    connection = connected({frames.MAX_CONCURRENT_STREAMS: 2})
    exchange, _ = sent(connection), sent(connection)
    assert not connection.accepting

    assert connection.receive(answer(exchange.stream_id)) == [exchange]
    assert connection.accepting


def test_a_connection_retires_when_its_stream_ids_are_used_up() -> None:
    connection = connected(first_stream_id=2**31 - 3)
    sent(connection)
    assert connection.accepting

    last = sent(connection)
    assert last.stream_id == 2**31 - 1
    assert not connection.accepting
    assert connection.closing
    assert connection.receive(answer(last.stream_id)) == [last]


def test_going_away_ends_the_calls_that_the_server_had_not_begun_with() -> None:
    connection = connected()
    first, second, third = (sent(connection) for _ in range(3))

    ended = connection.receive(frames.frame(frames.GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4)))

    assert ended == [third]
    assert third.unprocessed
    assert not connection.accepting
    assert connection.receive(answer(first.stream_id) + answer(second.stream_id)) == [first, second]


@pytest.mark.parametrize(("code", "unprocessed"), [(7, True), (8, False)])
def test_a_reset_ends_a_call_with_its_code(code: int, unprocessed: bool) -> None:
    connection = connected()
    exchange = sent(connection)

    assert connection.receive(frames.rst_stream(1, code)) == [exchange]
    assert (exchange.reset, exchange.unprocessed) == (code, unprocessed)


def test_a_cancelled_call_is_reset_and_what_still_comes_for_it_is_ignored() -> None:
    connection = connected()
    exchange = sent(connection)
    connection.take()
    connection.cancel(exchange)

    assert read(connection.take()) == [(frames.RST_STREAM, 0, 1, (8).to_bytes(4, "big"))]
    assert connection.receive(answer(1)) == []
    assert connection.in_flight == 0


def test_an_upload_stops_when_the_answer_is_there_before_its_end() -> None:
    connection = connected()
    exchange = sent(connection, bytes(100_000))
    connection.take()
    assert connection.uploading

    assert connection.receive(answer(1)) == [exchange]
    assert read(connection.take()) == [(frames.RST_STREAM, 0, 1, (8).to_bytes(4, "big"))]
    assert not connection.uploading


def test_the_servers_window_is_replenished_before_it_is_used_up() -> None:
    connection = connected()
    payload = frames.frame(frames.DATA, 0, 99, bytes(2**16))  # of a stream that is over: it counts all the same
    consumed = 0
    while not (update := connection.take()):
        connection.receive(64 * payload)
        consumed += 64 * 2**16

    [(kind, _, stream_id, size)] = read(update)
    assert (kind, stream_id) == (frames.WINDOW_UPDATE, 0)
    assert frames.read_uint32(size) <= consumed < 2**31 - 1


def test_a_lost_connection_hands_back_the_calls_under_way() -> None:
    connection = connected()
    exchanges = [sent(connection), sent(connection)]

    assert connection.close() == exchanges
    assert connection.in_flight == 0
    assert not connection.accepting


def test_a_smaller_table_midway_retires_the_connection() -> None:
    connection = connected({frames.HEADER_TABLE_SIZE: 4096})
    connection.receive(frames.settings({frames.HEADER_TABLE_SIZE: 8192}))
    assert connection.accepting

    connection.receive(frames.settings({frames.HEADER_TABLE_SIZE: 0}))
    assert connection.closing


@pytest.mark.parametrize(
    "data",
    [
        frames.frame(frames.HEADERS, 0, 1, INITIAL) + frames.frame(frames.DATA, 0, 1, b""),
        frames.frame(frames.HEADERS, 0, 1, INITIAL) + frames.frame(frames.CONTINUATION, 0, 3, b""),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
        frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_what_breaks_http2_breaks_the_connection_and_leaves_what_ended_before(data: bytes) -> None:
    connection = connected()
    _, answered_before = sent(connection), sent(connection)

    assert connection.receive(answer(3) + data) == [answered_before]
    assert connection.broken
    assert not connection.accepting
