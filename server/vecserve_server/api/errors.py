"""The one place where the engine's errors become gRPC's."""

import logging
from collections.abc import Iterator
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from vecserve.v1 import error_reason_pb2 as reasons
from vecserve_server.engine.errors import (
    BatchTooLargeError,
    EngineError,
    ExpiredError,
    InferenceFailedError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    OverloadedError,
    UnavailableError,
    WrongModalityError,
)

logger = logging.getLogger(__name__)

DOMAIN = "vecserve"

# Subclasses before their bases.
_CODES: list[tuple[type[EngineError], Code, reasons.ErrorReason.ValueType]] = [
    (BatchTooLargeError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_BATCH_TOO_LARGE),
    (WrongModalityError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_WRONG_MODALITY),
    (InvalidInputError, Code.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_INPUT),
    (ModelNotFoundError, Code.NOT_FOUND, reasons.ERROR_REASON_MODEL_NOT_FOUND),
    (OverloadedError, Code.UNAVAILABLE, reasons.ERROR_REASON_OVERLOADED),
    (NotReadyError, Code.UNAVAILABLE, reasons.ERROR_REASON_NOT_READY),
    (ExpiredError, Code.DEADLINE_EXCEEDED, reasons.ERROR_REASON_EXPIRED),
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


def log_internal(error: Exception, request_id: str) -> None:
    """Logs the cause of an error that callers are told only the id of."""
    if not isinstance(error, EngineError) or isinstance(error, InferenceFailedError):
        logger.error("request %s failed: %s", request_id, error, exc_info=error)


def _status(code: Code, message: str, reason: reasons.ErrorReason.ValueType, *details: Message) -> Status:
    status = Status(code=code, message=message)
    for detail in (ErrorInfo(domain=DOMAIN, reason=reasons.ErrorReason.Name(reason)), *details):
        status.details.add().Pack(detail)
    return status


def _details(error: EngineError) -> Iterator[Message]:
    match error:
        case InvalidInputError():
            violations = [
                BadRequest.FieldViolation(field=violation.field, description=violation.description)
                for violation in error.violations
            ]
            yield BadRequest(field_violations=violations)
        case ModelNotFoundError():
            yield ResourceInfo(resource_type="vecserve.v1.Model", resource_name=error.name, description=str(error))
        case UnavailableError():
            delay = Duration()
            delay.FromTimedelta(timedelta(seconds=error.retry_after))
            yield RetryInfo(retry_delay=delay)
        case _:
            pass
