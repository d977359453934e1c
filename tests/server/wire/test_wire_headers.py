import random
from itertools import takewhile

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from http2_client import HEADERS, headers

from vecserve_wire.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError
from vecserve_wire.headers import RESPONSE_HEAD, ForbiddenHeadersError, HeadReader, MalformedRequestError, trailers

FIRST_DYNAMIC = 0x80 | 62


def read(*extra: tuple[str, str], **changes: str | None):
    return HeadReader(2**14).read(Encoder().encode([*headers(**changes), *extra]))


def entry(name: str, value: str) -> bytes:
    """A literal that enters the table, always as the newest."""
    return b"\x40" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def calls(reader: HeadReader, value: str) -> bytes:
    """Puts a header into the table, and returns a block that names it beside those of a call."""
    reader.skip(Encoder().encode([]) + entry("content-type", "application/grpc") + entry("user", value))
    # :method POST, :scheme http, :path /, the content type, and the newest
    return bytes((0x83, 0x86, 0x84, FIRST_DYNAMIC + 1, FIRST_DYNAMIC))


def test_the_same_block_again_is_looked_up() -> None:
    reader = HeadReader(2**14)
    block = calls(reader, "first")
    assert reader.read(block) is reader.read(block)
    assert reader.read(block).metadata == (("user", "first"),)


def test_a_block_with_a_token_that_enters_no_table_is_looked_up() -> None:
    encoder, reader = Encoder(), HeadReader(2**14)
    fields = [*HEADERS, NeverIndexedHeaderTuple("authorization", "Bearer of-a-token")]
    reader.read(encoder.encode(fields))
    block = encoder.encode(fields)

    assert reader.read(block) is reader.read(block)
    assert reader.read(block).metadata == (("authorization", "Bearer of-a-token"),)


@pytest.mark.parametrize("value", ["x" * 2048, "resized"])
def test_large_blocks_and_those_that_resize_the_table_are_decoded_each_time(value: str) -> None:
    encoder, reader = Encoder(), HeadReader(2**14)
    fields = [*HEADERS, NeverIndexedHeaderTuple("token", value)]
    reader.read(encoder.encode(fields))
    block = (b"\x3f\xe1\x1f" if value == "resized" else b"") + encoder.encode(fields, huffman=False)

    assert reader.read(block) is not reader.read(block)
    assert reader.read(block).metadata == (("token", value),)


def test_calls_with_something_of_their_own_take_no_more_memory() -> None:
    encoder, reader = Encoder(), HeadReader(2**14)
    reader.read(encoder.encode(HEADERS))
    blocks = [encoder.encode([*HEADERS, NeverIndexedHeaderTuple("id", str(number))]) for number in range(100)]
    heads = [reader.read(block) for block in blocks]

    looked_up = takewhile(lambda each: reader.read(blocks[each]) is heads[each], reversed(range(100)))

    assert 0 < len(list(looked_up)) <= 16


@pytest.mark.parametrize("seed", range(50))
def test_whatever_is_remembered_blocks_say_what_their_encoder_was_told(seed: int) -> None:
    encoder, reader, draw = Encoder(), HeadReader(2**14), random.Random(seed)
    for _ in range(200):
        if draw.random() < 0.05:
            encoder.header_table_size = draw.choice([0, 100, 300, 600, 4096])
        fields = [(f"n{draw.randrange(4)}", str(draw.randrange(4))) for _ in range(draw.randrange(4))]
        kinds = [NeverIndexedHeaderTuple if draw.random() < 0.3 else HeaderTuple for _ in fields]
        block = encoder.encode([*HEADERS, *(kind(*field) for kind, field in zip(kinds, fields, strict=True))])
        assert reader.read(block).metadata == tuple(fields)


def test_a_block_means_other_headers_once_the_table_has_grown() -> None:
    reader = HeadReader(2**14)
    reader.read(calls(reader, "first"))
    assert reader.read(calls(reader, "second")).metadata == (("user", "second"),)


@pytest.mark.parametrize("_", range(20))
def test_a_table_that_was_emptied_and_filled_again_forgets_blocks(_: int) -> None:
    reader = HeadReader(2**14)
    reader.read(calls(reader, "first"))
    emptied_and_usual = b"\x20\x3f\xe1\x1f"
    reader.skip(emptied_and_usual + entry("content-type", "application/grpc") + entry("user", "second"))
    assert reader.read(bytes((0x83, 0x86, 0x84, FIRST_DYNAMIC + 1, FIRST_DYNAMIC))).metadata == (("user", "second"),)


def test_a_block_with_an_index_beyond_one_byte_is_read_each_time() -> None:
    encoder, reader = Encoder(), HeadReader(2**14)
    fields = [*HEADERS, *((f"n{number}", str(number)) for number in range(80))]
    for _ in range(3):
        head = reader.read(encoder.encode(fields))
        assert head.metadata == tuple(fields[6:])
    fields[10:60] = []
    assert reader.read(encoder.encode(fields)).metadata == tuple(fields[6:])


def test_more_blocks_than_are_remembered_are_read() -> None:
    encoder, reader = Encoder(), HeadReader(2**14)
    pairs = [(f"n{number}", "") for number in range(12)]
    reader.read(encoder.encode([*HEADERS, *pairs]))
    for count in range(12):
        for start in range(12):
            fields = pairs[start:] + pairs[:count]
            assert reader.read(encoder.encode([*HEADERS, *fields])).metadata == tuple(fields)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600), ("2M", 120), ("99999999S", 99_999_999), ("250m", 0.25), ("5u", 5e-6), ("7n", 7e-9), ("0S", 0)],
)
def test_grpc_timeout_has_all_units(text: str, seconds: float) -> None:
    assert read(grpc_timeout=text).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "S", "5", "123456789S", "-1S", "1.5S", "1s", "\u0663S".encode().decode("latin-1")]
)
def test_a_malformed_grpc_timeout_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequestError, match="grpc-timeout"):
        read(grpc_timeout=text)


def test_binary_metadata_comes_with_and_without_padding_and_joined_by_commas() -> None:
    assert read(("a-bin", "AAE"), ("b-bin", "AAE="), ("c-bin", "AA,/w==,")).metadata == (
        ("a-bin", b"\0\1"),
        ("b-bin", b"\0\1"),
        ("c-bin", b"\0"),
        ("c-bin", b"\xff"),
        ("c-bin", b""),
    )


def test_binary_metadata_that_is_not_base64_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="'a-bin' is not base64"):
        read(("a-bin", "!"))


@pytest.mark.parametrize(
    ("text", "encoded"), [("für 100 %", "f%C3%BCr 100 %25"), ("a\nb", "a%0Ab"), ("猫", "%E7%8C%AB"), ("\ud800", "?")]
)
def test_status_messages_are_percent_encoded(text: str, encoded: str) -> None:
    assert Decoder().decode(trailers(3, text)) == [("grpc-status", "3"), ("grpc-message", encoded)]


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 300, 5000])
def test_literals_of_any_length_are_written_as_they_are(size: int) -> None:
    metadata = (("x" * max(size, 1), "v" * size), ("data-bin", b"\xff" * size))
    decoded = Decoder(2**16).decode(RESPONSE_HEAD + trailers(0, "", metadata))
    fields = {str(name): str(value) for name, value in decoded}
    assert fields["x" * max(size, 1)] == "v" * size
    assert fields[":status"] == "200"
    assert "=" not in fields["data-bin"]


def test_a_list_larger_than_allowed_ends_the_connection() -> None:
    with pytest.raises(ProtocolError) as caught:
        HeadReader(1000).read(Encoder().encode([*HEADERS, ("large", "x" * 1000)]))
    assert caught.value.code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\x0f", b"\x80", bytes((FIRST_DYNAMIC,)), b"\x40\x0aabc", b"\x40"])
def test_a_malformed_block_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        HeadReader(2**14).read(block)
    assert caught.value.code == COMPRESSION_ERROR


@pytest.mark.parametrize(("changes", "status"), [({":method": "GET"}, "405"), ({"content-type": "text/html"}, "415")])
def test_what_is_no_grpc_call_gets_an_http_status(changes: dict[str, str], status: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        read(**changes)
    assert Decoder().decode(caught.value.answer) == [(":status", status)]


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
def test_content_types_of_grpc_are_taken(kind: str) -> None:
    assert read(**{"content-type": kind}).path == "/test.Service/Echo"


def test_grpc_web_is_not_taken_for_grpc() -> None:
    with pytest.raises(MalformedRequestError, match="grpc-web"):
        read(**{"content-type": "application/grpc-web+proto"})


@pytest.mark.parametrize("name", [":method", ":scheme", ":path"])
def test_a_request_without_a_pseudo_header_is_forbidden(name: str) -> None:
    with pytest.raises(ForbiddenHeadersError):
        read(**{name: None})


@pytest.mark.parametrize(
    "extra", [(":path", "/other"), (":status", "200"), ("Capital", "1"), ("connection", "close"), ("te", "gzip")]
)
def test_headers_that_http2_forbids_are_refused(extra: tuple[str, str]) -> None:
    with pytest.raises(ForbiddenHeadersError):
        read(extra)
