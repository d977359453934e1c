import pickle
from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2
from scripted_server import Failure, Server, invalid

import vecserve
from vecserve import Client
from vecserve.status import BY_REASON
from vecserve.v1 import error_reason_pb2

Connect = Callable[..., Client]


def raised_by(client: Client, server: Server, failure: Failure) -> vecserve.VecserveError:
    server.script = lambda request, context: failure
    with pytest.raises(vecserve.VecserveError) as caught:
        client.embed_text(["a"])
    return caught.value


@pytest.fixture
def once(connect: Connect) -> Client:
    return connect(retry=vecserve.RetryPolicy(max_attempts=1))


def test_every_reason_of_the_api_has_an_exception() -> None:
    assert {*BY_REASON, "ERROR_REASON_UNSPECIFIED"} == set(error_reason_pb2.ErrorReason.keys())


@pytest.mark.parametrize(("reason", "kind"), BY_REASON.items())
def test_a_reason_decides_the_exception(
    once: Client, server: Server, reason: str, kind: type[vecserve.VecserveError]
) -> None:
    error = raised_by(once, server, Failure(grpc.StatusCode.INTERNAL, reason, "what happened"))

    assert type(error) is kind
    assert (error.reason, error.code) == (reason, grpc.StatusCode.INTERNAL)
    assert error.message.startswith("what happened")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, vecserve.InvalidInputError),
        (grpc.StatusCode.UNAVAILABLE, vecserve.UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, vecserve.DeadlineExceededError),
        (grpc.StatusCode.UNAUTHENTICATED, vecserve.UnauthenticatedError),
        (grpc.StatusCode.NOT_FOUND, vecserve.VecserveError),
        (grpc.StatusCode.PERMISSION_DENIED, vecserve.VecserveError),
    ],
)
def test_without_a_reason_the_code_decides(
    once: Client, server: Server, code: grpc.StatusCode, kind: type[vecserve.VecserveError]
) -> None:
    error = raised_by(once, server, Failure(code))

    assert type(error) is kind
    assert (error.reason, error.code, error.message) == ("", code, "scripted")


def test_a_batch_too_large_names_the_setting_to_lower(once: Client, server: Server) -> None:
    failure = Failure(grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_BATCH_TOO_LARGE", "texts has 32 items")

    assert "batch_size" in raised_by(once, server, failure).message


def test_another_domains_reason_is_not_taken_for_ours(once: Client, server: Server) -> None:
    foreign = error_details_pb2.ErrorInfo(reason="ERROR_REASON_EXPIRED", domain="example.com")

    error = raised_by(once, server, Failure(grpc.StatusCode.INTERNAL, details=(foreign,)))

    assert type(error) is vecserve.VecserveError


def test_details_that_are_no_status_leave_the_code(once: Client, server: Server) -> None:
    def garble(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "garbled")

    server.script = garble

    with pytest.raises(vecserve.InvalidInputError, match="garbled") as caught:
        once.embed_text(["a"])
    assert caught.value.violations == ()


def test_every_violation_is_listed_and_shown(once: Client, server: Server) -> None:
    error = raised_by(once, server, invalid({"texts[0]": "is empty", "texts[1]": "is too long"}))

    assert isinstance(error, vecserve.InvalidInputError)
    assert error.violations == (
        vecserve.FieldViolation("texts[0]", "is empty"),
        vecserve.FieldViolation("texts[1]", "is too long"),
    )
    assert "texts[0]: is empty; texts[1]: is too long" in str(error)


def test_another_grpc_server_is_told_from_ours(server: Server, once: Client) -> None:
    def unimplemented(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(())
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    server.script = unimplemented

    with pytest.raises(vecserve.VecserveError, match=r"127\.0\.0\.1:\d+ doesn't serve vecserve"):
        once.embed_text(["a"])


def test_the_request_id_is_the_one_that_the_server_logs(once: Client, server: Server) -> None:
    def renamed(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("x-request-id", "theirs"),))
        context.abort(grpc.StatusCode.INTERNAL, "failed")

    server.script = renamed

    with pytest.raises(vecserve.VecserveError) as caught:
        once.embed_text(["a"])
    assert caught.value.request_id == "theirs"


@pytest.mark.parametrize(("message", "request_id"), [("failed", "abc"), ("see abc in the log", "abc"), ("failed", "")])
def test_the_request_id_is_told_once(message: str, request_id: str) -> None:
    told = str(vecserve.VecserveError(message, request_id=request_id))

    assert told.count("abc") == bool(request_id)
    assert told.startswith(message)


def test_the_cause_is_the_grpc_error(once: Client, server: Server) -> None:
    assert isinstance(raised_by(once, server, Failure(grpc.StatusCode.INTERNAL)).__cause__, grpc.RpcError)


def test_exceptions_survive_pickling() -> None:
    error = vecserve.InvalidInputError(
        "bad", code=grpc.StatusCode.INVALID_ARGUMENT, reason="ERROR_REASON_INVALID_INPUT", request_id="id"
    )
    error.violations = (vecserve.FieldViolation("texts[0]", "is empty"),)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is vecserve.InvalidInputError
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
