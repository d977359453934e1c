from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from vecserve_server.api.intake import Intake
from vecserve_server.api.interceptor import CallInterceptor


@dataclass
class Details:
    method: str


class Server:
    """What comes after the interceptor: it knows one method, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def find(self, details: Details) -> Any:
        self.asked += 1
        if details.method != "/vecserve.v1.EmbeddingService/EmbedText":
            return None
        return grpc.unary_unary_rpc_method_handler(_echo)


def _echo(request: Any, context: Any) -> Any:
    return request


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_method_is_wrapped_once(server: Server) -> None:
    interceptor, details = CallInterceptor(Intake(9, 9)), Details("/vecserve.v1.EmbeddingService/EmbedText")

    handlers = [await interceptor.intercept_service(server.find, details) for _ in range(3)]  # pyright: ignore[reportArgumentType]

    assert handlers[0] is handlers[1] is handlers[2]
    assert server.asked == 1


async def test_a_method_that_is_not_there_is_not_remembered(server: Server) -> None:
    interceptor, details = CallInterceptor(Intake(9, 9)), Details("/vecserve.v1.EmbeddingService/Embed")

    handlers = [await interceptor.intercept_service(server.find, details) for _ in range(2)]  # pyright: ignore[reportArgumentType]

    assert handlers == [None, None]
    assert server.asked == 2
