"""A request to its answer, retries included: the one loop that sync and asyncio can't share, side by side."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import grpc

from vecserve.options import Attempts, Metadata
from vecserve.v1 import embedding_service_pb2 as pb

Request = TypeVar("Request")
Response = TypeVar("Response")
RequestIn = TypeVar("RequestIn", contravariant=True)
ResponseOut = TypeVar("ResponseOut", covariant=True)
EmbedRequest = TypeVar("EmbedRequest", bound=pb.EmbedTextRequest | pb.EmbedImageRequest)
EmbedResponse = TypeVar("EmbedResponse", bound=pb.EmbedTextResponse | pb.EmbedImageResponse)


class Send(Protocol[RequestIn, ResponseOut]):
    """One attempt: a method of a stub, or what stands for it."""

    def __call__(self, request: RequestIn, /, *, timeout: float, metadata: Metadata) -> ResponseOut:
        """Return the answer, or raise grpc.RpcError."""
        ...


class SendAsync(Protocol[RequestIn, ResponseOut]):
    """`Send` for asyncio."""

    def __call__(self, request: RequestIn, /, *, timeout: float, metadata: Metadata) -> Awaitable[ResponseOut]:
        """Return the answer once awaited, or raise grpc.RpcError."""
        ...


def answer(
    send: Send[Request, Response], request: Request, attempts: Attempts, sleep: Callable[[float], object]
) -> Response:
    """Send a request until it is answered or given up, and return the answer.

    Raises:
        VecserveError: When it is given up.
    """
    while True:
        try:
            return send(request, timeout=attempts.timeout(), metadata=attempts.metadata())
        except grpc.RpcError as failure:
            wait = attempts.wait_after(failure)
        sleep(wait)


async def answer_async(send: SendAsync[Request, Response], request: Request, attempts: Attempts) -> Response:
    """Do as `answer` does, for asyncio."""
    while True:
        try:
            return await send(request, timeout=attempts.timeout(), metadata=attempts.metadata())
        except grpc.RpcError as failure:
            wait = attempts.wait_after(failure)
        await asyncio.sleep(wait)
