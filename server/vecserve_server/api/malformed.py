"""Bytes that are no message: told with what is wrong."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError

from vecserve_server.engine.errors import InvalidInputError, Violation

RequestT = TypeVar("RequestT")


def parsed(parse: Callable[[bytes], RequestT], data: bytes) -> RequestT:
    """The request that the bytes are.

    Raises:
        InvalidInputError: they are none.
    """
    try:
        return parse(data)
    except DecodeError:
        raise InvalidInputError(
            [Violation("request", "is not a valid message of its type: check the proto and that strings are UTF-8")]
        ) from None
