"""From a failed RPC to an exception: the google.rpc details in its trailers, or what its bare code tells."""

import re
from collections.abc import Iterable
from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from vecserve import errors

REQUEST_ID = "x-request-id"
_STATUS_DETAILS = "grpc-status-details-bin"
_DOMAIN = "vecserve"

BY_REASON: dict[str, type[errors.VecserveError]] = {
    "ERROR_REASON_INVALID_INPUT": errors.InvalidInputError,
    "ERROR_REASON_BATCH_TOO_LARGE": errors.BatchTooLargeError,
    "ERROR_REASON_MODEL_NOT_FOUND": errors.ModelNotFoundError,
    "ERROR_REASON_WRONG_MODALITY": errors.WrongModalityError,
    "ERROR_REASON_OVERLOADED": errors.OverloadedError,
    "ERROR_REASON_NOT_READY": errors.NotReadyError,
    "ERROR_REASON_MODEL_FAILING": errors.ModelFailingError,
    "ERROR_REASON_MODEL_LOAD_FAILED": errors.ModelLoadError,
    "ERROR_REASON_DEFAULT_MODEL": errors.DefaultModelError,
    "ERROR_REASON_EXPIRED": errors.DeadlineExceededError,
    "ERROR_REASON_INFERENCE_FAILED": errors.InferenceFailedError,
    "ERROR_REASON_UNAUTHENTICATED": errors.UnauthenticatedError,
}
"""The exception of every reason that a server sends."""

_BY_CODE: dict[grpc.StatusCode, type[errors.VecserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInputError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
}

# What gRPC itself says of a message beyond a limit, and which of these are requests.
_TOO_LARGE = re.compile(
    r"(?P<side>CLIENT|SERVER): (?P<verb>\w+) message larger than max \((?P<size>\d+) vs. (?P<limit>\d+)\)"
)
_REQUESTS = {("CLIENT", "Sent"), ("SERVER", "Received")}

_ITEM = re.compile(r"\b(texts|images)\[(\d+)\]")

_Detail = TypeVar("_Detail", bound=Message)


def error_from(
    failure: grpc.RpcError, *, address: str, timeout: float, request_id: str, offset: int = 0
) -> errors.VecserveError:
    """Return the exception for a failed RPC.

    Args:
        failure: What gRPC raised, sync or aio.
        address: Where the call went, for messages about the connection.
        timeout: Seconds that the whole call had, for messages about it.
        request_id: The id that was sent, where the server echoes none.
        offset: Place of the request's first input among the caller's: `texts[3]` is reported as `texts[3 + offset]`.
    """
    trailers = _trailers(failure)
    echoed = str(trailers.get(REQUEST_ID, ""))
    status = _status(trailers.get(_STATUS_DETAILS, b""))
    info = _detail(status, error_details_pb2.ErrorInfo)
    reason = info.reason if info.domain == _DOMAIN else ""
    code = failure.code()
    message = failure.details() or code.name
    if not reason and (not echoed or _TOO_LARGE.search(message)):
        message = _explained(code, message, address, timeout)
        request_id = "" if code is grpc.StatusCode.UNAVAILABLE else request_id
    kind = BY_REASON.get(reason) or _BY_CODE.get(code, errors.VecserveError)
    if kind is errors.BatchTooLargeError:  # the caller sees a call's inputs, not the requests they were split into
        message += "; the client's batch_size sets how many it sends at once"
    error = kind(_shifted(message, offset), code=code, reason=reason, request_id=echoed or request_id)
    _add_details(error, status, offset)
    return error


def _trailers(failure: grpc.RpcError) -> dict[str, str | bytes]:
    # The sync and aio flavours differ in type; both iterate as pairs, and both are None when the call never started.
    pairs = cast(Iterable[tuple[str, str | bytes]] | None, failure.trailing_metadata())
    return dict(pairs or ())


def _status(encoded: str | bytes) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(encoded if isinstance(encoded, bytes) else b"")
    except DecodeError:
        return status_pb2.Status()  # a proxy's or another server's: the code and message must do


def _detail(status: status_pb2.Status, kind: type[_Detail]) -> _Detail:
    """Return the first detail of a kind, or an empty one."""
    detail = kind()
    for packed in status.details:
        if packed.Unpack(detail):
            break
    return detail


def _add_details(error: errors.VecserveError, status: status_pb2.Status, offset: int) -> None:
    match error:
        case errors.InvalidInputError():
            error.violations = tuple(
                errors.FieldViolation(_shifted(violation.field, offset), _shifted(violation.description, offset))
                for violation in _detail(status, error_details_pb2.BadRequest).field_violations
            )
        case errors.ModelNotFoundError():
            error.model = _detail(status, error_details_pb2.ResourceInfo).resource_name
        case errors.UnavailableError():
            retry = _detail(status, error_details_pb2.RetryInfo)
            if retry.HasField("retry_delay"):
                error.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        case _:
            pass


def _shifted(message: str, offset: int) -> str:
    return _ITEM.sub(lambda item: f"{item[1]}[{int(item[2]) + offset}]", message) if offset else message


def _explained(code: grpc.StatusCode, message: str, address: str, timeout: float) -> str:
    """Return what a failure that no vecserve server reported means to the caller."""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return (
                f"no vecserve server answers at {address}. Check that it runs (`vecserve serve`), that address and "
                f"port are its own, and that both sides agree on TLS. gRPC says: {message}"
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer from {address} within the timeout of {timeout:g} s"
        case grpc.StatusCode.UNIMPLEMENTED:
            return (
                f"what answers at {address} doesn't serve vecserve.v1. Check the address and port. gRPC says: {message}"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED if found := _TOO_LARGE.search(message):
            what = "request" if (found["side"], found["verb"]) in _REQUESTS else "answer"
            whose = "--max-message-bytes of the server" if found["side"] == "SERVER" else "this client"
            return (
                f"the {what} has {found['size']} bytes, and {whose} allows {found['limit']}: lower batch_size, or send "
                "smaller inputs"
            )
        case _:
            return message
