import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from vecserve_loadtest.headers import (
    GRPC_STATUS,
    SERVER_TIMING,
    decode,
    find_literal,
    grpc_timeout,
    request_blocks,
    request_headers,
)
from vecserve_wire.frames import ProtocolError

names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
METADATA = (("x-vecserve-priority", "bulk"), ("x-request-id", "a" * 32))
UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}


def read_by(decoder: Decoder, block: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in decoder.decode(block)]


@pytest.mark.parametrize("table_size", [0, 100, 1000, 4096, 65536])
def test_a_server_reads_the_same_headers_from_the_first_block_and_all_later_ones(table_size: int) -> None:
    headers = request_headers("127.0.0.1:50051", "/a.B/C", METADATA, deadline=0.5)
    blocks = request_blocks(headers, table_size)
    server = Decoder()
    server.max_allowed_table_size = table_size

    read = [read_by(server, block) for block in (blocks.first, blocks.later, blocks.later)]

    assert read == [headers, headers, headers]


def test_later_blocks_only_name_the_servers_entries() -> None:
    headers = request_headers("127.0.0.1:50051", "/a.B/C", METADATA)

    assert len(request_blocks(headers).later) == len(headers)


def test_headers_that_overflow_the_servers_table_are_written_out_each_time() -> None:
    headers = request_headers("127.0.0.1:50051", "/a.B/C", (("x-long", "v" * 5000),))
    blocks = request_blocks(headers)
    server = Decoder()

    assert [read_by(server, block) for block in (blocks.first, blocks.later, blocks.later)] == [headers] * 3


def test_a_call_has_the_headers_that_grpc_asks_for() -> None:
    assert request_headers("[::1]:9", "/a.B/C", (("x-a", "b"),), deadline=2) == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.B/C"),
        (":authority", "[::1]:9"),
        ("te", "trailers"),
        ("grpc-timeout", "2000000u"),
        ("content-type", "application/grpc"),
        ("user-agent", "vecserve-loadtest"),
        ("x-a", "b"),
    ]


@given(st.floats(1e-9, 1e10))
@settings(deadline=None)
def test_a_deadline_is_written_in_the_finest_unit_with_room_and_never_earlier(seconds: float) -> None:
    written = grpc_timeout(seconds)
    count, unit = int(written[:-1]), written[-1]

    assert len(written) <= 9
    assert seconds * (1 - 1e-8) <= count * UNITS[unit] <= max(seconds * (1 + 1e-5), 1e-9) + UNITS[unit]


def test_a_deadline_of_millennia_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be written as grpc-timeout"):
        grpc_timeout(1e12)


@given(st.lists(st.tuples(names, values)), st.sampled_from(["0", "14"]), values, st.booleans())
@settings(deadline=None)
def test_a_literal_that_is_found_is_the_headers_value(
    others: list[tuple[str, str]], status: str, timing: str, huffman: bool
) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    known = [("grpc-status", status), ("server-timing", timing)]
    others = [(name, value) for name, value in others if name not in dict(known)]
    block = encoder.encode([*others, *known], huffman=huffman)

    assert decode(block) == dict([*others, *known])
    assert find_literal(block, GRPC_STATUS) in {status.encode(), None}
    assert find_literal(block, SERVER_TIMING) in {timing.encode(), None}
    if not huffman:
        assert find_literal(block, GRPC_STATUS) == status.encode()
        assert (find_literal(block, SERVER_TIMING) is None) == (len(timing) > 254)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x40\x0bgrpc-status",
        b"\x40\x0bgrpc-status\x020",
        b"\x40\x0bgrpc-status\x7f",
        b"\x40\x03foo\x0bgrpc-status\x040123",
    ],
)
def test_a_name_without_a_whole_value_of_its_own_is_not_found(block: bytes) -> None:
    assert find_literal(block, GRPC_STATUS) is None


@pytest.mark.parametrize("block", [b"\x40\x0bgrpc-status\x020", b"\xbe", b"\x40\x01\xff\x01a"])
def test_a_malformed_block_and_one_that_needs_a_table_are_refused(block: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed header block"):
        decode(block)
