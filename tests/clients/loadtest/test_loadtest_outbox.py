from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecserve_loadtest.outbox import TAKE_BYTES, Body, HeaderBlock, Outbox
from vecserve_wire import frames
from vecserve_wire.frames import FrameReader, ProtocolError

HEADERS = HeaderBlock(b"headers")
GRANTS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 100_000)), max_size=20)


@dataclass
class Received:
    """What a server has of one request."""

    headers: bytes = b""
    body: bytes = b""
    ended: bool = False


@dataclass
class Server:
    reader: FrameReader = field(default_factory=lambda: FrameReader(2**24))
    streams: dict[int, Received] = field(default_factory=dict[int, Received])
    largest: int = 0

    def read(self, data: bytes) -> None:
        for kind, flags, stream_id, payload in self.reader.feed(data):
            self.largest = max(self.largest, len(payload))
            stream = self.streams.setdefault(stream_id, Received())
            assert not stream.ended
            if kind == frames.HEADERS:
                stream.headers = payload
            else:
                assert kind == frames.DATA
                stream.body += payload
                stream.ended = bool(flags & frames.END_STREAM)

    def bytes_taken(self) -> int:
        return sum(len(stream.body) for stream in self.streams.values())


def test_a_small_request_goes_at_once_behind_grpcs_five_bytes() -> None:
    outbox, server = Outbox(), Server()
    outbox.add_request(1, HEADERS, Body(b"message"))
    server.read(outbox.take())

    assert server.streams == {1: Received(b"headers", b"\0\0\0\0\x07message", ended=True)}
    assert not outbox.uploading
    assert outbox.take() == b""


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=3), GRANTS)
@settings(deadline=None)
def test_bodies_arrive_whole_and_never_beyond_the_windows(sizes: list[int], grants: list[tuple[int, int]]) -> None:
    outbox, server = Outbox(), Server()
    bodies = {2 * index + 1: Body(bytes([index]) * size) for index, size in enumerate(sizes)}
    allowed = dict.fromkeys([0, *bodies], frames.DEFAULT_WINDOW)
    for stream_id, body in bodies.items():
        outbox.add_request(stream_id, HEADERS, body)

    for which, size in [*grants, *((index, 2**20) for index in range(len(sizes) + 1))]:
        server.read(outbox.take())
        assert server.bytes_taken() <= allowed[0]
        assert all(len(stream.body) <= allowed[stream_id] for stream_id, stream in server.streams.items())
        stream_id = [0, *bodies][which % (len(bodies) + 1)]
        allowed[stream_id] += size
        outbox.grow(stream_id, size)
    while taken := outbox.take():
        server.read(taken)

    assert not outbox.uploading
    assert {key: stream.body for key, stream in server.streams.items()} == {k: b.content for k, b in bodies.items()}
    assert all(stream.ended for stream in server.streams.values())
    assert server.largest <= frames.DEFAULT_FRAME_SIZE


def test_frames_are_as_large_as_the_server_takes_them() -> None:
    outbox, server = Outbox(), Server()
    outbox.set_frame_size(40_000)
    outbox.add_request(1, HEADERS, Body(bytes(50_000)))
    server.read(outbox.take())

    assert server.largest == 40_000
    assert server.streams[1].ended


def test_streams_under_way_gain_and_lose_what_the_initial_window_does() -> None:
    outbox, server = Outbox(), Server()
    outbox.grow(0, 2**20)
    outbox.set_stream_window(100)
    outbox.add_request(1, HEADERS, Body(bytes(1000)))
    server.read(outbox.take())
    assert len(server.streams[1].body) == 100

    outbox.set_stream_window(40)  # the stream's is 60 below zero now
    outbox.grow(1, 70)
    server.read(outbox.take())
    assert len(server.streams[1].body) == 110

    outbox.set_stream_window(2000)
    server.read(outbox.take())
    assert server.streams[1].ended


def test_a_small_request_does_not_overtake_one_that_waits_for_the_connections_window() -> None:
    outbox, server = Outbox(), Server()
    outbox.set_stream_window(2**20)
    outbox.add_request(1, HEADERS, Body(bytes(70_000)))
    outbox.add_request(3, HEADERS, Body(b"small"))
    server.read(outbox.take())
    assert not server.streams[3].body

    outbox.grow(0, 10_000)
    server.read(outbox.take())
    assert server.streams[1].ended
    assert server.streams[3].ended


def test_what_is_left_of_a_dropped_body_is_not_sent() -> None:
    outbox, server = Outbox(), Server()
    outbox.add_request(1, HEADERS, Body(bytes(100_000)))
    server.read(outbox.take())

    assert outbox.drop(1)
    assert not outbox.drop(1)
    outbox.grow(1, 2**20)
    outbox.grow(0, 2**20)
    assert outbox.take() == b""


def test_one_take_holds_no_more_than_its_bound_of_a_large_body() -> None:
    outbox = Outbox()
    outbox.set_stream_window(2**24)
    outbox.grow(0, 2**24)
    outbox.add_request(1, HEADERS, Body(bytes(2**23)))

    taken = outbox.take()

    assert TAKE_BYTES <= len(taken) <= TAKE_BYTES + 1000


def test_a_window_beyond_what_http2_allows_is_refused() -> None:
    with pytest.raises(ProtocolError, match="window"):
        Outbox().grow(0, frames.MAX_WINDOW)


def test_metadata_must_fit_into_one_frame() -> None:
    with pytest.raises(ValueError, match="metadata takes 20000 bytes, and at most 16384"):
        HeaderBlock(bytes(20_000))
