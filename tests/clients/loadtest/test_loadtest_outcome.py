import pytest
from hpack import Encoder

from vecserve_loadtest import outcome
from vecserve_loadtest.connection import Exchange
from vecserve_loadtest.outbox import Body
from vecserve_loadtest.outcome import describe, message_of, server_timing_of, status_of
from vecserve_loadtest.status import Status

OK = [("grpc-status", "0")]


def block(headers: list[tuple[str, str]], *, huffman: bool = False) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(headers, huffman=huffman)


def answered(
    trailers: list[tuple[str, str]], message: bytes | None = b"", *, huffman: bool = False, keep: bool = False
) -> Exchange:
    exchange = Exchange(Body(b""))
    exchange.trailers = block(trailers, huffman=huffman)
    if message is not None:
        data = b"\0" + len(message).to_bytes(4, "big") + message
        exchange.received = len(data)
        exchange.parts = [data[:3], data[3:]] if keep else None
    return exchange


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("status", list(Status))
def test_the_status_is_read_from_the_trailers(status: Status, huffman: bool) -> None:
    exchange = answered([("x-request-id", "abc"), ("grpc-status", str(int(status)))], huffman=huffman)

    assert status_of(exchange) is status


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("literal", [b"\x00", b"\x10", b"\x40"])
def test_a_status_that_is_written_out_plainly_is_not_decoded(
    literal: bytes, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_: bytes) -> dict[str, str]:
        raise AssertionError("this takes longer than all else that is done for a call")

    monkeypatch.setattr(outcome, "decode", decode)
    value = str(int(status)).encode()
    exchange = answered([])
    exchange.trailers = literal + b"\x0bgrpc-status" + bytes((len(value),)) + value + b"\x00\x01x\x01y"

    assert status_of(exchange) is status


def test_a_status_of_no_name_is_unknown() -> None:
    assert status_of(answered([("grpc-status", "77")])) is Status.UNKNOWN
    assert status_of(answered([("grpc-status", "many")])) is Status.INTERNAL


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, Status.INTERNAL),
        (7, Status.UNAVAILABLE),
        (8, Status.CANCELLED),
        (11, Status.RESOURCE_EXHAUSTED),
        (12, Status.PERMISSION_DENIED),
    ],
)
def test_a_reset_stands_for_the_status_that_grpc_gives_it(code: int, status: Status) -> None:
    exchange = Exchange(Body(b""))
    exchange.reset = code

    assert status_of(exchange) is status
    assert f"error code {code}" in describe(exchange)


def test_a_cancellation_after_the_deadline_is_the_servers_timer() -> None:
    exchange = Exchange(Body(b""))
    exchange.reset = 8

    assert status_of(exchange, expired=True) is Status.DEADLINE_EXCEEDED
    assert status_of(answered([("grpc-status", "1")]), expired=True) is Status.CANCELLED


def test_a_call_that_the_server_did_not_begin_with_is_unavailable() -> None:
    exchange = Exchange(Body(b""))
    exchange.unprocessed = True

    assert status_of(exchange) is Status.UNAVAILABLE
    assert "before it began" in describe(exchange)


@pytest.mark.parametrize(("code", "status"), [("404", Status.UNIMPLEMENTED), ("503", Status.UNAVAILABLE)])
def test_without_grpc_status_the_http_status_tells(code: str, status: Status) -> None:
    trailers_only = answered([(":status", code), ("content-type", "text/html")], None)
    with_a_body = answered([], b"<html>")
    with_a_body.head = block([(":status", code)])

    for exchange in (trailers_only, with_a_body):
        assert status_of(exchange) is status
        assert f"HTTP status {code}" in describe(exchange)


def test_an_answer_that_just_ends_is_unknown() -> None:
    exchange = Exchange(Body(b""))

    assert status_of(exchange) is Status.UNKNOWN
    assert "without grpc-status" in describe(exchange)


def test_ok_without_a_whole_message_is_internal() -> None:
    truncated = answered(OK, b"message", keep=True)
    assert truncated.parts is not None
    truncated.parts.pop()
    truncated.received = 3

    assert status_of(answered(OK, None)) is Status.INTERNAL
    assert status_of(truncated) is Status.INTERNAL
    assert "OK with 0 bytes" in describe(answered(OK, None))


def test_a_failures_message_is_decoded() -> None:
    exchange = answered([("grpc-status", "5"), ("grpc-message", "no model %22n%C2%BA 1%22")])

    assert describe(exchange) == 'no model "nº 1"'


def test_trailers_that_can_not_be_read_are_a_failure_of_their_own() -> None:
    exchange = answered(OK)
    exchange.trailers = b"\xff\xff"

    assert status_of(exchange) is Status.INTERNAL
    assert "malformed" in describe(exchange)
    assert server_timing_of(exchange) == ""


def test_a_response_that_was_kept_comes_without_its_prefix() -> None:
    exchange = answered(OK, b"the message", keep=True)

    assert status_of(exchange) is Status.OK
    assert message_of(exchange) == b"the message"


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("timing", ["infer;dur=2.1", "queue;dur=0.4, " * 30 + "infer;dur=2.1"])
def test_server_timing_is_read_at_any_length(timing: str, huffman: bool) -> None:
    assert server_timing_of(answered([*OK, ("server-timing", timing)], huffman=huffman)) == timing
    assert server_timing_of(answered(OK, huffman=huffman)) == ""
