from typing import Any

import grpc
import pytest
from grpc.aio import AbortError

from vecserve.v1.embedding_service_pb2 import EmbedTextRequest
from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor
from vecserve_wire.details import Details


def call(method: str) -> Details:
    return Details(method, ())


class Server:
    """What comes after the interceptor: it knows one method, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def find(self, details: Details) -> Any:
        self.asked += 1
        if details.method != "/vecserve.v1.EmbeddingService/EmbedText":
            return None
        return grpc.unary_unary_rpc_method_handler(_echo)


def _echo(request: Any, context: Any) -> Any:
    return request


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_method_is_wrapped_once(server: Server) -> None:
    interceptor, details = CallInterceptor(Intake(9, 9)), call("/vecserve.v1.EmbeddingService/EmbedText")

    handlers = [interceptor(details, server.find) for _ in range(3)]

    assert handlers[0] is handlers[1] is handlers[2]
    assert server.asked == 1


def test_a_method_that_is_not_there_is_not_remembered(server: Server) -> None:
    interceptor, details = CallInterceptor(Intake(9, 9)), call("/vecserve.v1.EmbeddingService/Embed")

    handlers = [interceptor(details, server.find) for _ in range(2)]

    assert handlers == [None, None]
    assert server.asked == 2


class Call:
    """A context that takes note of nothing but how it was ended."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None

    def invocation_metadata(self) -> Any:
        return ()

    trailing_metadata = invocation_metadata

    def set_trailing_metadata(self, metadata: Any) -> None: ...

    def add_done_callback(self, callback: Any) -> None: ...

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> None:
        self.code = code
        raise AbortError(details)


@pytest.mark.parametrize(
    ("parse", "code"),
    [(bytes, grpc.StatusCode.INTERNAL), (EmbedTextRequest.FromString, grpc.StatusCode.INVALID_ARGUMENT)],
    ids=["the handler fails", "the message is none"],
)
async def test_the_bytes_of_a_call_that_fails_are_held_no_longer(
    parse: Any, code: grpc.StatusCode, server: Server
) -> None:
    intake, context = Intake(9, 1000), Call()

    async def fail(request: Any, _: Any) -> Any:
        assert intake.held_bytes == 5
        raise ZeroDivisionError

    method: Any = grpc.unary_unary_rpc_method_handler(fail, parse)
    handler: Any = CallInterceptor(intake)(call("/vecserve.v1.EmbeddingService/EmbedText"), lambda _: method)
    with pytest.raises(AbortError):
        await handler.unary_unary(b"\xff" * 5, context)

    assert context.code is code
    assert intake.held_bytes == 0
