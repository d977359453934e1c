"""Requests that are no message: told to the handler instead of failing inside gRPC, which would say INTERNAL."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from grpc.aio import EOF

from vecserve_server.engine.errors import InvalidInputError, Violation

RequestT = TypeVar("RequestT")


class Malformed:
    """Stands for a request that could not be parsed."""


def tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Wraps a deserializer to return `Malformed` where it would raise."""

    def parse_or_malformed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed()

    return parse_or_malformed


def wellformed(request: RequestT | Malformed) -> RequestT:
    """The request itself; raises `InvalidInputError` if there was none, or none that could be parsed."""
    if request is EOF:
        raise InvalidInputError([Violation("request", "is missing: the call ended before its message was complete")])
    if isinstance(request, Malformed):
        raise InvalidInputError(
            [Violation("request", "is not a valid message of its type: check the proto and that strings are UTF-8")]
        )
    return request
