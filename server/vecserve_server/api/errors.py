"""The one place where the engine's errors become gRPC's."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from vecserve.v1 import error_reason_pb2 as reasons
from vecserve_server.engine.errors import (
    BatchTooLargeError,
    DefaultModelError,
    EngineError,
    ExpiredError,
    InferenceFailedError,
    InvalidInputError,
    ModelFailingError,
    ModelLoadError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
    UnavailableError,
    WrongModalityError,
)
from vecserve_server.telemetry.logs import fields

logger = logging.getLogger(__name__)

DOMAIN = "vecserve"


class UnauthenticatedError(EngineError):
    """The call has no token, or a wrong one; it never comes to the engine."""


# gRPC's clients may refuse trailers of more than 8 KiB, and report RESOURCE_EXHAUSTED in place of the error. The
# message is in them twice, once with each byte that is not ASCII written as three.
_MESSAGE_BYTES = 512
_VIOLATIONS_BYTES = 4608
_ALWAYS_DESCRIBED = 8

# Subclasses before their bases.
_CODES: list[tuple[type[EngineError], Code, reasons.ErrorReason.ValueType]] = [
    (BatchTooLargeError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_BATCH_TOO_LARGE),
    (WrongModalityError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_WRONG_MODALITY),
    (InvalidInputError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_INPUT),
    (ModelNotFoundError, Code.NOT_FOUND, reasons.ERROR_REASON_MODEL_NOT_FOUND),
    (OverloadedError, Code.UNAVAILABLE, reasons.ERROR_REASON_OVERLOADED),
    (NotReadyError, Code.UNAVAILABLE, reasons.ERROR_REASON_NOT_READY),
    (ModelFailingError, Code.UNAVAILABLE, reasons.ERROR_REASON_MODEL_FAILING),
    (ModelLoadError, Code.FAILED_PRECONDITION, reasons.ERROR_REASON_MODEL_LOAD_FAILED),
    (DefaultModelError, Code.FAILED_PRECONDITION, reasons.ERROR_REASON_DEFAULT_MODEL),
    (ExpiredError, Code.DEADLINE_EXCEEDED, reasons.ERROR_REASON_EXPIRED),
    (UnauthenticatedError, Code.UNAUTHENTICATED, reasons.ERROR_REASON_UNAUTHENTICATED),
    (InferenceFailedError, Code.INTERNAL, reasons.ERROR_REASON_INFERENCE_FAILED),
]


def to_status(error: Exception, request_id: str) -> Status:
    """What the caller is told: code, message, and `google.rpc` details.

    Anything but an `EngineError`, and what failed inside the runtime, is told as INTERNAL and nothing more.
    """
    for kind, code, reason in _CODES:
        if isinstance(error, kind) and code != Code.INTERNAL:
            return _status(code, str(error), reason, *_details(error))
    message = f"the server failed on this call; its log has the cause under request id {request_id}"
    return _status(Code.INTERNAL, message, reasons.ERROR_REASON_INFERENCE_FAILED)


def to_answer(error: Exception, request_id: str) -> tuple[int, str, bytes]:
    """The same as a call's trailers tell it: code, message, and the whole status serialized.

    Under overload most calls get the same few.
    """
    if isinstance(error, OverloadedError):
        return _overloaded(str(error), error.retry_after)
    return _serialized(to_status(error, request_id))


@lru_cache(maxsize=256)
def _overloaded(message: str, retry_after: float) -> tuple[int, str, bytes]:
    return _serialized(to_status(OverloadedError(message, retry_after), ""))


def _serialized(status: Status) -> tuple[int, str, bytes]:
    return status.code, status.message, status.SerializeToString()


def log_internal(error: Exception, request_id: str) -> None:
    """Logs the cause of an error that callers are told only the id of."""
    if not isinstance(error, EngineError) or isinstance(error, InferenceFailedError):
        logger.error("request %s failed: %s", request_id, error, exc_info=error, extra=fields(request_id=request_id))


def _status(code: Code, message: str, reason: reasons.ErrorReason.ValueType, *details: Message) -> Status:
    status = Status(code=code, message=_clip(message))
    for detail in (ErrorInfo(domain=DOMAIN, reason=reasons.ErrorReason.Name(reason)), *details):
        status.details.add().Pack(detail)
    return status


def _details(error: EngineError) -> Iterator[Message]:
    match error:
        case InvalidInputError():
            yield _bad_request(error)
        case ModelNotFoundError():
            yield ResourceInfo(
                resource_type="vecserve.v1.Model", resource_name=_clip(error.name), description=_clip(str(error))
            )
        case UnavailableError():
            delay = Duration()
            delay.FromTimedelta(timedelta(seconds=error.retry_after))
            yield RetryInfo(retry_delay=delay)
        case _:
            pass


def _bad_request(error: InvalidInputError) -> BadRequest:
    """Every violation. Of more than trailers can carry, the first are described, the others named, the last counted."""
    request = BadRequest()
    names = [BadRequest.FieldViolation(field=_clip(violation.field)) for violation in error.violations]
    names_to_come = sum(map(_size, names))
    for index, (name, violation) in enumerate(zip(names, error.violations, strict=True)):
        names_to_come -= _size(name)
        told = BadRequest.FieldViolation(field=name.field, description=_clip(violation.description))
        if index >= _ALWAYS_DESCRIBED and request.ByteSize() + _size(told) + names_to_come > _VIOLATIONS_BYTES:
            told = name
        if request.ByteSize() + _size(told) > _VIOLATIONS_BYTES:
            request.field_violations.add(description=f"{len(names) - index} more are wrong, too many to list")
            break
        request.field_violations.append(told)
    return request


def _size(violation: BadRequest.FieldViolation) -> int:
    """Bytes that a violation adds to its message, at most."""
    return violation.ByteSize() + 4


def _clip(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _MESSAGE_BYTES:
        return text
    return encoded[: _MESSAGE_BYTES - len("…".encode())].decode(errors="ignore") + "…"
