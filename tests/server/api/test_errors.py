import logging
from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from vecserve_server.api.errors import UnauthenticatedError, log_internal, to_status
from vecserve_server.engine.admission import DeadlineUnmetError
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
    Violation,
    WrongModalityError,
)

MessageT = TypeVar("MessageT", bound=Message)

VIOLATIONS = [Violation("texts[3]", "is empty"), Violation("prompt", "is 'x'")]

ERRORS = [
    (InvalidInputError(VIOLATIONS), Code.INVALID_ARGUMENT, "INVALID_INPUT", BadRequest),
    (BatchTooLargeError(VIOLATIONS), Code.INVALID_ARGUMENT, "BATCH_TOO_LARGE", BadRequest),
    (WrongModalityError(VIOLATIONS), Code.INVALID_ARGUMENT, "WRONG_MODALITY", BadRequest),
    (ModelNotFoundError("bert", "no bert"), Code.NOT_FOUND, "MODEL_NOT_FOUND", ResourceInfo),
    (OverloadedError("busy", 1.5), Code.UNAVAILABLE, "OVERLOADED", RetryInfo),
    (DeadlineUnmetError("too late", 1.5), Code.UNAVAILABLE, "OVERLOADED", RetryInfo),
    (NotReadyError("loading"), Code.UNAVAILABLE, "NOT_READY", RetryInfo),
    (ModelFailingError("broken", 4.0), Code.UNAVAILABLE, "MODEL_FAILING", RetryInfo),
    (ModelLoadError("altered"), Code.FAILED_PRECONDITION, "MODEL_LOAD_FAILED", None),
    (DefaultModelError("meant"), Code.FAILED_PRECONDITION, "DEFAULT_MODEL", None),
    (ExpiredError("late"), Code.DEADLINE_EXCEEDED, "EXPIRED", None),
    (UnauthenticatedError("no token"), Code.UNAUTHENTICATED, "UNAUTHENTICATED", None),
    (InferenceFailedError("secret"), Code.INTERNAL, "INFERENCE_FAILED", None),
    (RuntimeError("secret"), Code.INTERNAL, "INFERENCE_FAILED", None),
]


def detail(status: Status, kind: type[MessageT]) -> MessageT:
    message = kind()
    assert any(packed.Unpack(message) for packed in status.details)
    return message


@pytest.mark.parametrize(("error", "code", "reason", "extra"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_error_has_its_code_its_reason_and_its_details(
    error: Exception, code: Code, reason: str, extra: type[Message] | None
) -> None:
    status = to_status(error, "id-1")

    assert status.code == code
    info = detail(status, ErrorInfo)
    assert (info.domain, info.reason) == ("vecserve", f"ERROR_REASON_{reason}")
    assert [packed.TypeName() for packed in status.details[1:]] == ([extra.DESCRIPTOR.full_name] if extra else [])


def test_every_error_of_the_engine_is_told_in_a_way_of_its_own() -> None:
    kinds: list[type[EngineError]] = [EngineError]
    for kind in kinds:
        kinds += kind.__subclasses__()

    assert {kind for kind in kinds if not kind.__subclasses__()} <= {type(error) for error, *_ in ERRORS}


def test_violations_are_told_field_by_field() -> None:
    request = detail(to_status(InvalidInputError(VIOLATIONS), "id-1"), BadRequest)

    told = [(violation.field, violation.description) for violation in request.field_violations]
    assert told == [("texts[3]", "is empty"), ("prompt", "is 'x'")]


def test_the_model_that_is_missing_is_named() -> None:
    resource = detail(to_status(ModelNotFoundError("bert", "no bert"), "id-1"), ResourceInfo)

    assert (resource.resource_type, resource.resource_name) == ("vecserve.v1.Model", "bert")


def test_the_delay_to_retry_after_is_told() -> None:
    delay = detail(to_status(OverloadedError("busy", 1.5), "id-1"), RetryInfo).retry_delay

    assert delay.ToTimedelta().total_seconds() == 1.5


@pytest.mark.parametrize("error", [InferenceFailedError("secret"), RuntimeError("secret"), EngineError("secret")])
def test_what_failed_inside_is_not_told_but_its_id_is(error: Exception) -> None:
    status = to_status(error, "id-1")

    assert b"secret" not in status.SerializeToString()
    assert "id-1" in status.message


@pytest.mark.parametrize(("error", "logged"), [(RuntimeError("cause"), True), (ExpiredError("late"), False)])
def test_the_log_has_the_cause_of_what_callers_are_not_told(
    error: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        log_internal(error, "id-1")

    assert ("id-1" in caplog.text and "cause" in caplog.text) is logged


LARGE = [
    InvalidInputError([Violation(f"images[{i}].content", "is not an image of a known format" * 2) for i in range(256)]),
    InvalidInputError([Violation("prompt", f"is '{'ж' * 100_000}'")]),
    ModelNotFoundError("\U0001f600" * 50_000, "\U0001f600" * 50_000),
]


@pytest.mark.parametrize("error", LARGE)
def test_no_error_is_larger_than_trailers_may_be(error: EngineError) -> None:
    status = to_status(error, "i" * 128)

    percent_encoded = 3 * len(status.message.encode())
    assert percent_encoded + status.ByteSize() + 1024 < 8192
    assert status.message


def violations_told(count: int, field: str) -> list[BadRequest.FieldViolation]:
    wrong = [Violation(field.format(i), "is not an image of a known format (JPEG, PNG, WEBP)") for i in range(count)]
    return list(detail(to_status(InvalidInputError(wrong), "id-1"), BadRequest).field_violations)


def test_violations_that_fit_are_told_whole() -> None:
    told = violations_told(40, "images[{}].content")

    assert len(told) == 40
    assert all(violation.field and violation.description for violation in told)


def test_violations_that_do_not_fit_whole_are_all_named() -> None:
    told = violations_told(256, "texts[{}]")

    assert [violation.field for violation in told] == [f"texts[{i}]" for i in range(256)]
    assert told[0].description
    assert not told[-1].description


def test_violations_that_can_not_even_be_named_are_counted() -> None:
    told = violations_told(2560, "images[{}].content")

    assert [violation.field for violation in told[:-1]] == [f"images[{i}].content" for i in range(len(told) - 1)]
    assert len(told) > 100
    assert told[-1].description == f"{2560 - len(told) + 1} more are wrong, too many to list"
