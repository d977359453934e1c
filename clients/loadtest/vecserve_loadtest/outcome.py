"""How an exchange that has ended came out, as gRPC sees it. Pure."""

from urllib.parse import unquote

from vecserve_loadtest.connection import Exchange
from vecserve_loadtest.headers import GRPC_STATUS, SERVER_TIMING, decode, find_literal
from vecserve_loadtest.status import CANCEL, Status, of_error_code, of_grpc_status, of_http_status
from vecserve_wire.frames import ProtocolError

_PREFIX = 5  # before each message: whether it is compressed, and its length in 4 bytes
_PLAIN_OK = b"\x0bgrpc-status\x010"  # between lengths; bytes below 0x20 are in no other header's value
_BY_TEXT: dict[bytes | None, Status] = {str(int(status)).encode(): status for status in Status}


def status_of(exchange: Exchange, *, expired: bool = False) -> Status:
    """Return the status that an answered exchange has.

    An OK without a whole message is INTERNAL. The message's own length is compared only where it was kept.

    Args:
        exchange: One that has ended.
        expired: Whether its deadline had passed by then. A stream that is reset with CANCEL was ended by the server's
            timer in that case, and is DEADLINE_EXCEEDED, as for C-core's client.
    """
    status = Status.OK if _PLAIN_OK in exchange.trailers else _other_status(exchange)
    if status is Status.OK and not _has_message(exchange):
        return Status.INTERNAL
    if expired and exchange.reset == CANCEL:
        return Status.DEADLINE_EXCEEDED
    return status


def describe(exchange: Exchange) -> str:
    """Return what the server said to a failure, or what was wrong with its answer."""
    if exchange.reset is not None:
        return f"the server reset the stream with HTTP/2 error code {exchange.reset}"
    if exchange.unprocessed:
        return "the server went away before it began with the call"
    try:
        trailers = _trailers(exchange)
    except ProtocolError as error:
        return str(error)
    if "grpc-status" not in trailers:
        return f"an answer without grpc-status, with HTTP status {trailers.get(':status', 'unknown')}"
    if trailers["grpc-status"] == "0":
        return f"OK with {exchange.received} bytes, which are not one message"
    return unquote(trailers.get("grpc-message", ""))


def message_of(exchange: Exchange) -> bytes:
    """Return the serialized response of an OK exchange whose parts were kept."""
    return b"".join(exchange.parts or ())[_PREFIX:]


def server_timing_of(exchange: Exchange) -> str:
    """Return the `server-timing` trailer; empty where there is none."""
    if plain := find_literal(exchange.trailers, SERVER_TIMING):
        return plain.decode("ascii", "replace")
    try:
        return _trailers(exchange).get("server-timing", "")
    except ProtocolError:
        return ""


def _has_message(exchange: Exchange) -> bool:
    if exchange.parts is None:
        return exchange.received >= _PREFIX
    prefix = b"".join(exchange.parts)[:_PREFIX]
    return prefix == b"\0" + (exchange.received - _PREFIX).to_bytes(4, "big", signed=True)


def _other_status(exchange: Exchange) -> Status:
    if exchange.reset is not None:
        return of_error_code(exchange.reset)
    if exchange.unprocessed:
        return Status.UNAVAILABLE
    plain = _BY_TEXT.get(find_literal(exchange.trailers, GRPC_STATUS))
    return _decoded_status(exchange) if plain is None else plain


def _decoded_status(exchange: Exchange) -> Status:
    try:
        trailers = _trailers(exchange)
        if (code := trailers.get("grpc-status")) is not None:
            return of_grpc_status(int(code))
        return of_http_status(int(trailers.get(":status", 0)))
    except (ProtocolError, ValueError):
        return Status.INTERNAL


def _trailers(exchange: Exchange) -> dict[str, str]:
    """Return the last headers of a response, over the first where those were out of the ordinary."""
    return {**decode(exchange.head), **decode(exchange.trailers)}
