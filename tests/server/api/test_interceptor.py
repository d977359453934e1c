from typing import Any

import grpc
import pytest

from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor
from vecserve_wire.details import Details


def call(method: str) -> Details:
    return Details(method, (), lambda _: None)


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
